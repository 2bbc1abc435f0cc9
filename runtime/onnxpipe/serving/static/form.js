// The fields of a model's input and of its parameters, from what /openapi.json says of them.
import { address, byId, el, label, put, release, said } from "./dom.js";
import { player, recorder } from "./media.js";
import { FileRef } from "./request.js";

let count = 0;

/** A field: its element, its input, how its value is read. */
function field(title, input, { hint, read, control = input, extra = [], required = true }) {
  const id = `field-${++count}`, about = hint ? el("p.hint", { id: `${id}-hint` }, hint) : "";
  Object.assign(input, { id, required });
  if (hint) input.setAttribute("aria-describedby", about.id);
  return { element: el("div.field", el("label", { htmlFor: id }, title), control, about, extra), input, read };
}

/** Read JSON; where it may be no other text, the field says what is wrong with it. */
function json(input, otherwise) {
  input.setCustomValidity("");
  try {
    return JSON.parse(input.value);
  } catch ({ message }) {
    if (otherwise) return input.value;
    input.setCustomValidity(`This is not JSON: ${message}`);
  }
}

const lines = (input) => input.value.split("\n").map((each) => each.trim()).filter(Boolean);

/** Read separated values: an object of columns. */
export function table(text) {
  const head = text.split("\n")[0], mark = ["\t", ";"].find((each) => head.includes(each)) ?? ",";
  const rows = [[]], cells = new RegExp(`("(?:[^"]|"")*"|[^${mark}\n]*)(${mark}|\n|$)`, "g");
  for (const [, cell, end] of text.replaceAll("\r\n", "\n").matchAll(cells)) {
    rows.at(-1).push(cell.replace(/^"([^]*)"$/, "$1").replaceAll('""', '"'));
    if (end !== mark) rows.push([]);
  }
  const [names, ...rest] = rows.filter((row) => row.some(Boolean));
  return Object.fromEntries((names ?? []).map((name, i) => [name, rest.map((row) => row[i] ?? "")]));
}

const KINDS = {
  image: ["an image", "photo.jpg"], video: ["a video", "video.mp4"], audio: ["a recording", "recording.wav"],
};
const isVideo = (file) => file?.type.startsWith("video/");

function mediaField({ kind, or_video }, title, changed) {
  const kinds = or_video ? ["image", "video"] : [kind], what = kinds.map((each) => KINDS[each][0]).join(" or ");
  const input = el("input", { type: "file", accept: kinds.map((each) => `${each}/*`).join() });
  const prompt = el("span", el("b", `Choose ${what}`), ", drop or paste it here");
  const drop = el("div.drop", input, prompt), preview = el("div.preview");
  input.onchange = async () => {
    const [file] = input.files;
    if (!file) return;
    prompt.replaceChildren(el("b", file.name), " – choose another");
    changed();
    if (kind === "audio") return preview.replaceChildren((await player(file, "input")).box);
    const shown = el(isVideo(file) ? "video" : "img", { src: address(file, "input"), controls: true, alt: file.name });
    shown.onerror = () => shown.remove();
    preview.replaceChildren(shown);
  };
  drop.ondragover = drop.ondragleave = drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop" && event.dataTransfer.files.length) put(input, event.dataTransfer.files[0]);
  };
  const extra = [preview, kind === "audio" ? recorder((file) => put(input, file)) : ""];
  return field(title, input, { control: drop, extra, read: () => new FileRef(input.files[0], KINDS[kind][1]) });
}

function inputField(spec, changed) {
  const { kind, example, name } = spec, title = label(name ?? { audio: "recording", json: "input" }[kind] ?? kind);
  if (kind in KINDS) return mediaField(spec, title, changed);
  const plain = ["text", "texts"].includes(kind), data = example && JSON.stringify(example, null, 2);
  const value = kind === "texts" ? example?.join("\n") : typeof example === "object" ? data : example;
  const input = said(plain ? "textarea" : "textarea.code", value ?? "", { spellcheck: plain });
  input.rows = Math.max(2, Math.min(8, input.value.split("\n").length + (name ? 0 : 3)));
  const read = { text: () => input.value, texts: () => lines(input), table: () => table(input.value) }[kind];
  const csv = "Comma-separated values; the first line names the columns.";
  const hint = { text: "", texts: "One a line.", table: csv }[kind] ?? "JSON.";
  return field(title, input, { hint, read: read ?? (() => json(input)) });
}

/** The field of a parameter, by its JSON schema. */
function parameterField(name, schema, value) {
  const kinds = (schema.anyOf ?? [schema]).filter((each) => each.type !== "null");
  const only = (...known) => kinds.every((each) => known.includes(each.enum ? "enum" : each.type));
  const texts = kinds.some((each) => each.items?.type === "string"), usual = String(schema.default ?? "");
  const hint = [schema.description, texts && "One a line."].filter(Boolean).join(" ");
  let input, read;
  if (only("enum", "boolean")) {
    const option = (value, text) => el("option", { value }, text);
    const options = kinds.flatMap((each) => each.enum ?? [true, false]);
    input = el("select", option("", usual ? `default (${usual})` : "default"),
      options.map((each) => option(JSON.stringify(each), String(each))));
    if (value !== undefined) input.value = JSON.stringify(value);
    read = () => JSON.parse(input.value);
  } else {
    const number = only("integer", "number");
    input = texts ? said("textarea", "", { rows: 2 }) : el("input", { type: number ? "number" : "text", step: "any" });
    input.placeholder = usual;
    input.value = (texts ? value?.join("\n") : value) ?? "";
    const text = kinds.some((each) => each.type === "string");
    if (number) read = () => Number(input.value);
    else if (texts) read = () => (text && lines(input).length === 1 ? lines(input)[0] : lines(input));
    else read = () => (only("string") ? input.value : json(input, text));
  }
  const given = () => (input.value === "" ? undefined : read());
  return { name, ...field(label(name), input, { hint, required: false, read: given }) };
}

export function buildForm(form, changed) {
  release("input");
  const asked = form.fields.filter((spec) => spec.kind !== "chat");
  const inputs = asked.map((spec) => ({ spec, ...inputField(spec, changed) }));
  const build = (name) => parameterField(name, form.schemas[name], form.parameters[name]);
  const first = form.first.map(build), rest = form.more.map(build);
  for (const [id, fields] of Object.entries({ fields: inputs, first, rest })) {
    byId(id).replaceChildren(...fields.map((each) => each.element));
  }
  byId("more").hidden = !rest.length;
  byId("more").open = false;
  byId("parameter-card").hidden = !first.length && !rest.length;
  const media = inputs.filter(({ spec }) => spec.kind in KINDS);
  return {
    read() {
      const values = {}, parameters = {};
      for (const { name, read } of [...first, ...rest]) {
        const value = read();
        if (value !== undefined) parameters[name] = value;
      }
      for (const { spec: { name, place, or_video }, input, read } of inputs) {
        const key = name && or_video && isVideo(input.files[0]) ? "video" : name;
        (place === "parameters" ? parameters : values)[key] = read();
      }
      return { input: "null" in values ? values.null : form.pair ? Object.values(values) : values, values, parameters };
    },
    files: () => media.flatMap(({ input }) => [...input.files]),
    /** Take a file that was pasted. */
    paste(file) {
      const fits = media.filter(({ input }) => input.accept.includes(file.type.split("/")[0]));
      const found = fits.find(({ input }) => !input.files.length) ?? fits[0];
      if (found) put(found.input, file);
    },
  };
}
