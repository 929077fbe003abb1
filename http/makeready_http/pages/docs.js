const field = document.getElementById("filter");
const entries = [...document.querySelectorAll("details")];
const words = entries.map((entry) => entry.textContent.toLowerCase());

function filter() {
  const wanted = field.value.trim().toLowerCase();
  entries.forEach((entry, place) => { entry.hidden = !words[place].includes(wanted); });
  for (const section of document.querySelectorAll("section")) {
    section.hidden = ![...section.querySelectorAll("details")].some((entry) => !entry.hidden);
  }
  document.getElementById("nothing").hidden = entries.some((entry) => !entry.hidden);
}

function openNamed() {
  const named = document.getElementById(location.hash.slice(1));
  if (named instanceof HTMLDetailsElement) named.open = true;
}

field.addEventListener("input", filter);
addEventListener("hashchange", openNamed);
openNamed();
