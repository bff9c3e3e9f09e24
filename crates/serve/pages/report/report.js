// The report page: cards as the server renders them.

import { byId, download, el, insertRendered } from "../shell/dom.js";
import { request, requestJson } from "../shell/http.js";
import { language } from "../shell/i18n.js";
import { clearError, showError, start } from "../shell/shell.js";
import strings from "./strings.js";

start(strings);
byId("reports").addEventListener("change", () => {
  history.replaceState(null, "", `#${byId("reports").value}`);
  show();
});
byId("save").addEventListener("click", save);
document.addEventListener("tolmach:language", show);
load();

async function load() {
  try {
    const { reports } = await requestJson("/ui/reports");
    byId("empty").hidden = reports.length > 0;
    byId("which").hidden = reports.length < 2;
    byId("reports").replaceChildren(...reports.map(({ id, name }) => el("option", { value: id }, name)));
    if (reports.some(({ id }) => `#${id}` === location.hash)) byId("reports").value = location.hash.slice(1);
    if (reports.length > 0) await show();
  } catch (error) {
    showError(error.message, load);
  }
}

async function show() {
  const id = byId("reports").value;
  if (!id) return;
  try {
    const { html } = await requestJson(`/ui/reports/${id}?language=${language()}`);
    clearError();
    insertRendered(byId("card"), html);
    byId("save").hidden = false;
  } catch (error) {
    showError(error.message, show);
  }
}

/** The report with both languages in it, which needs no server. */
async function save() {
  try {
    const response = await request(`/ui/reports/${byId("reports").value}/file`);
    const { text } = byId("reports").selectedOptions[0];
    download(await response.blob(), `${text}-report.html`);
  } catch (error) {
    showError(error.message, save);
  }
}
