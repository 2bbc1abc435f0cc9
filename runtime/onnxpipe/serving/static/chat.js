// A conversation: its messages, the field of the next one, and the answer as it comes.
import { address, byId, el, label, put, said } from "./dom.js";
import { FileRef } from "./request.js";

export class Chat {
  past = [];
  sent = null;

  constructor(form) {
    const { media } = form.fields[0];
    this.hint = el("p.empty", "The conversation begins with your first message.");
    this.thread = el("div.thread", { tabIndex: 0, role: "region", "aria-label": "Messages" }, this.hint);
    this.text = said("textarea", "", { id: "message", rows: 3, required: true });
    this.system = said("textarea", "", { id: "system", rows: 2 });
    this.file = el("input", { type: "file", id: "attached", accept: media.map((kind) => `${kind}/*`).join() });
    const field = (title, input, ...more) => el("div.field", el("label", { htmlFor: input.id }, title), input, more);
    const instructions = field("Instructions that hold for the whole conversation", this.system);
    byId("fields").append(
      field("Text", this.text, el("p.hint", "Enter sends, Shift+Enter begins a line.")),
      media.length ? field(label(media.join(" or ")), this.file) : "",
      el("details.field", el("summary", "System message"), instructions),
    );
  }

  /** The messages of the next request; those of the last one while nothing new was written. */
  messages() {
    const [file] = this.file.files, text = this.text.value, kind = file?.type.startsWith("video/") ? "video" : "image";
    if (!text && !file && this.sent) return this.sent;
    const system = this.system.value ? [{ role: "system", content: this.system.value }] : [];
    const content = file ? [{ type: kind, [kind]: new FileRef(file) }, { type: "text", text }] : text;
    return [...system, ...this.past, { role: "user", content }];
  }

  turn(role, name, text, image = "") {
    const words = said("div.text", text), turn = el(`div.turn.${role}`, el("div.hint", name), image, words);
    this.thread.append(turn);
    this.thread.scrollTop = this.thread.scrollHeight;
    return words;
  }

  begin() {
    const [file] = this.file.files;
    this.hint.remove();
    this.thread.querySelectorAll(":scope > :not(.turn)").forEach((each) => each.remove());
    this.sent = this.messages();
    this.written = this.text.value;
    const image = file?.type.startsWith("image/") ? el("img", { src: address(file, "input"), alt: file.name }) : "";
    this.mine = this.turn("user", "You", this.written, image);
    this.theirs = this.turn("assistant", "Model", "");
    this.theirs.classList.add("cursor");
    this.text.value = "";
  }

  grow(text) {
    const { thread } = this, down = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
    this.theirs.textContent = text;
    if (down) thread.scrollTop = thread.scrollHeight;
  }

  end(text) {
    this.grow(text);
    this.theirs.classList.remove("cursor");
    this.past = [...this.sent.filter((each) => each.role !== "system"), { role: "assistant", content: text }];
    this.file.value = "";
    this.text.focus();
  }

  /** What was stopped stays, as far as it had come; what failed can be sent again. */
  fail(note, stopped) {
    const text = this.theirs.textContent;
    if (stopped && text) this.end(text);
    else {
      this.mine.parentNode.remove();
      this.theirs.parentNode.remove();
      this.text.value = this.written;
    }
    this.thread.append(note);
    this.thread.scrollTop = this.thread.scrollHeight;
  }

  paste(file) {
    if (this.file.isConnected) put(this.file, file);
  }
}
