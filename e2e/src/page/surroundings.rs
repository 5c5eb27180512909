//! What the page is shown on: window, preferences, network, GPU.

use serde_json::json;

use super::Page;

impl Page<'_> {
    /// A window of so many CSS pixels, one device pixel each.
    #[track_caller]
    pub fn viewport(&self, width: u32, height: u32) {
        self.metrics(width, height, 1, false);
    }

    /// A phone held upright: 390 x 844 CSS pixels, three device pixels each, with touch.
    #[track_caller]
    pub fn phone(&self) {
        self.metrics(390, 844, 3, true);
        self.cdp(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": true }),
        );
    }

    /// A person who prefers dark pages.
    #[track_caller]
    pub fn emulate_dark(&self) {
        self.emulate_preference("prefers-color-scheme", "dark");
    }

    /// One preference as a media feature; those set before are as they were at the start.
    #[track_caller]
    pub fn emulate_preference(&self, feature: &str, value: &str) {
        self.cdp(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": feature, "value": value }] }),
        );
    }

    /// Runs a script in every document that is opened from now on, before the document's own.
    #[track_caller]
    pub fn before_load(&self, js: &str) {
        self.cdp(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": js }),
        );
    }

    /// Takes the network away: the page is told that it is offline, and the server is gone for good.
    #[track_caller]
    pub fn go_offline(&self) {
        if let Some(server) = self.server {
            server.stop();
        }
        self.cdp("Network.enable", json!({}));
        self.cdp(
            "Network.emulateNetworkConditions",
            json!({ "offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 }),
        );
    }

    /// A disk on which pages of this origin may keep so many bytes.
    #[track_caller]
    pub fn limit_storage(&self, origin: &str, n_bytes: u64) {
        self.cdp(
            "Storage.overrideQuotaForOrigin",
            json!({ "origin": origin, "quotaSize": n_bytes }),
        );
    }

    /// Ends Chromium's GPU process: every WebGPU device of the page and of its workers is lost.
    pub fn lose_gpu(&self) {
        // The process ends before it could answer.
        let _ = self.try_cdp("Browser.crashGpuProcess", json!({}));
    }

    #[track_caller]
    fn metrics(&self, width: u32, height: u32, scale: u32, mobile: bool) {
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile }),
        );
    }
}
