const heard = document.querySelector("#heard");
const on = (selector, type, say) =>
  document.querySelector(selector).addEventListener(type, (event) => {
    heard.textContent = `${type} ${say(event)}`;
  });
const names = (files) => [...files].map((file) => `${file.name}:${file.size}`).sort().join(" ");

on("#prompt", "input", (event) => event.target.value);
on("#strength", "change", (event) => event.target.value);
on("#files", "change", (event) => names(event.target.files));
on("#folder", "change", (event) => names(event.target.files));
on("#target", "keydown", (event) => event.key);
on("#target", "dragover", (event) => (event.preventDefault(), ""));
on("#target", "drop", (event) => (event.preventDefault(), names(event.dataTransfer.files)));
document.querySelector("#late").addEventListener("click", () => {
  setTimeout(() => (heard.textContent = "late"), 200);
});
