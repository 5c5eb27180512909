// Starts the page's program: the head of index.html names its script and its module.
const address = (link) => document.head.querySelector(`link[${link}]`).href;
const { default: init } = await import(address("rel=modulepreload"));
await init({ module_or_path: address("rel=preload") });
