// Elements of texts and properties: nothing that a model or a user wrote is ever parsed as HTML.

/** Make an element: `el("p.hint", "text")`. Properties with a dash are attributes, or variables of CSS. */
export function el(kind, ...parts) {
  const [tag, ...classes] = kind.split("."), node = document.createElement(tag);
  node.className = classes.join(" ");
  for (const part of parts.flat(2)) {
    if (part instanceof Node || typeof part === "string") node.append(part);
    for (const [name, value] of part?.constructor === Object ? Object.entries(part) : []) {
      if (name.startsWith("--")) node.style.setProperty(name, value);
      else if (name.includes("-") || name === "role") node.setAttribute(name, value);
      else if (value !== undefined) node[name] = value;
    }
  }
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A text of any language: its direction is found in it. */
export const said = (kind, text, ...parts) => el(kind, { dir: "auto", lang: "" }, String(text), parts);

/** "source_sentence" as a label: "Source sentence". */
export const label = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

const kept = {};
/** The address of a file in memory, until `release(group)`. */
export function address(blob, group) {
  const url = URL.createObjectURL(blob);
  (kept[group] ??= []).push(url);
  return url;
}
export function release(group) {
  kept[group]?.splice(0).forEach((url) => URL.revokeObjectURL(url));
}

export const download = (name, content, text) =>
  el("a.button", { download: name, href: address(new Blob([content]), "answer") }, text);

/** A hue for each name, the same whenever it comes. */
export const hue = (name) =>
  String([...String(name)].reduce((sum, each) => (sum * 31 + each.codePointAt()) % 9973, 7) % 360);

/** Put a file into an input, as if it were chosen. */
export function put(input, file) {
  const list = new DataTransfer();
  list.items.add(file);
  input.files = list.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
