// Runs one case on one device on both sides in turns and posts the times. Started by bench.py.
const query = new URLSearchParams(location.search);
const name = query.get("case");
const gpu = query.get("device") === "webgpu";
const seconds = Number(query.get("seconds"));
const sides = query.get("sides").split(",");

const bytes = async (url) => {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function input(config) {
  const n = config.n_positions;
  if (name !== "mlp") return Int32Array.from({ length: n }, (_, i) => (i * 7919 + 13) % config.vocab_size);
  return Float32Array.from({ length: n * config.n_embd }, (_, i) => Math.sin(i * 1.7) * 1.4);
}

async function ort(config, x) {
  const ort = await import(gpu ? "/ort/ort.webgpu.min.mjs" : "/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/ort/";
  const model = await bytes(`/models/${name}/model.onnx`);
  const session = await ort.InferenceSession.create(model, { executionProviders: [gpu ? "webgpu" : "wasm"] });
  const dims = name === "mlp" ? [1, config.n_positions, config.n_embd] : [1, config.n_positions];
  const feed = new ort.Tensor(name === "mlp" ? "float32" : "int32", x, dims);
  return async () => Object.values(await session.run({ [session.inputNames[0]]: feed }))[0].data;
}

async function burn(side, x) {
  const { default: start, init, Model } = await import(`/burn/swivel_bench_web.js?${side}`); // an instance for each side
  await start();
  await init(gpu);
  const config = await bytes(`/models/${name}/config.json`);
  const model = Model.load(gpu, side !== "burn", side === "half", config, await bytes(`/models/${name}/model.safetensors`));
  const layer = late(JSON.parse(new TextDecoder().decode(config)));
  if (layer > 3 && !gpu) {
    toggle[side] = () => (model.cache(x), () => model.toggle(layer));
  }
  return () => (name === "mlp" ? model.mlp(x) : model.logits(x));
}

async function timedOf(f, least) {
  const times = [];
  const until = performance.now() + least;
  do {
    const start = performance.now();
    await f();
    times.push(performance.now() - start);
  } while (performance.now() < until);
  return times;
}

// By side, a toggle in the last layer but two, of models that have many.
const toggle = {};
const late = (config) => (config.n_layer ?? config.num_hidden_layers) - 3;

async function main() {
  const config = JSON.parse(new TextDecoder().decode(await bytes(`/models/${name}/config.json`)));
  const x = await input(config);
  const run = {};
  const out = {};
  const first = {};
  for (const side of sides) {
    const start = performance.now();
    run[side] = side === "ort" ? await ort(config, x) : await burn(side, x);
    out[side] = await run[side]();
    first[side] = performance.now() - start;
  }
  let difference = 0;
  const most = sides.includes("half") ? 2e-1 : 1e-2; // rounded weights are other weights
  const reference = out[sides[0]];
  for (const side of sides) {
    if (out[side].length !== reference.length) throw new Error(`${side}: ${out[side].length} values`);
    for (let i = 0; i < reference.length; i++) difference = Math.max(difference, Math.abs(out[side][i] - reference[i]));
    if (!(difference < most)) throw new Error(`${side} computes other values: ${difference}`);
  }
  // Warm: the browser compiles wasm a second time in the background.
  const timed = (side, least) => timedOf(run[side], least);
  for (const side of sides) await timed(side, 1000);
  const times = Object.fromEntries(sides.map((side) => [side, []]));
  const until = performance.now() + seconds * 1000;
  let turns = 0;
  do {
    for (const side of sides) times[side].push(median(await timed(side, 100)));
    turns += 1;
  } while (performance.now() < until || turns < 5);
  // A late toggle beside a forward pass, in turns.
  const toggles = {};
  for (const side of sides.filter((side) => toggle[side])) {
    const answer = toggle[side]();
    await timedOf(answer, 500);
    const ratios = [];
    for (let i = 0; i < 9; i++) ratios.push(median(await timedOf(answer, 100)) / median(await timedOf(run[side], 100)));
    toggles[side] = median(ratios);
  }
  return { difference, first, times, toggles };
}

main()
  .then((result) => ({ ok: result }))
  .catch((error) => ({ error: String(error?.stack ?? error) }))
  .then((answer) => fetch("/done", { method: "POST", body: JSON.stringify(answer) }));
