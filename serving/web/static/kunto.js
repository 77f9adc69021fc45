// Comfort only: every page works without it.
"use strict";

document.documentElement.classList.add("js");

// A choice in a list filters at once.
document.querySelectorAll("form.filters select").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});

// j and k walk through the accounts; Enter opens the one that has the focus, as on every link.
const names = [...document.querySelectorAll("tr.account a.name")];
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, select, textarea");
  const step = { j: 1, k: -1 }[event.key];
  if (writing || !step || !names.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = document.activeElement.closest("tr.account");
  const now = row ? names.indexOf(row.querySelector("a.name")) : -1;
  const next = names[Math.min(Math.max(now + step, 0), names.length - 1)];
  next.focus({ preventScroll: true });
  next.closest("tr").scrollIntoView({ block: "nearest" });
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
});
