// Starts the page's own program in a worker. The page sends its compiled module first; what comes later is for the program.
self.onmessage = async ({ data }) => {
  self.onmessage = null;
  const { default: init } = await import(data.script);
  await init({ module_or_path: data.module });
};
