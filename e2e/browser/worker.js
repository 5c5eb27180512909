// Says what WebGPU device it got, and later how it lost it.
(async () => {
const adapter = await navigator.gpu?.requestAdapter();
const device = await adapter?.requestDevice();
postMessage(device ? "device" : "none");
device?.lost.then((info) => postMessage(`lost: ${info.reason}`));
})();
