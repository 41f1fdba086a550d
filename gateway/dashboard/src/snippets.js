// SPDX-License-Identifier: MIT
// What to write into each editor for one role, filled in. An editor that speaks something that this gateway does not
// serve yet says so; SERVED is compared with the gateway by a test. Pure.

/** The dialects of this build: path below the role -> served. */
export const SERVED = { "chat/completions": true, completions: true, messages: false, responses: false, infill: false };

const json = (value) => JSON.stringify(value, null, 2);
const quoted = (text) => JSON.stringify(String(text)); // also a YAML and a TOML string
const shell = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

function continueConfig(f) {
  const roles = f.lane === "autocomplete" ? "[autocomplete]" : "[chat, edit, apply]";
  return ["models:", `  - name: ${quoted(`rolemesh ${f.mode}`)}`, "    provider: openai", `    model: ${quoted(f.mode)}`, `    apiBase: ${quoted(f.url)}`,
    `    apiKey: ${quoted(f.key)}`, `    roles: ${roles}`, "    defaultCompletionOptions:", `      contextLength: ${f.context}`].join("\n");
}

const form = (...rows) => rows.map(([label, value]) => `${label}: ${value}`).join("\n");

const EDITORS = [
  { name: "Roo Code", path: "chat/completions", where: "Settings › Providers",
    text: (f) => form(["API Provider", "OpenAI Compatible"], ["Base URL", f.url], ["API Key", f.key], ["Model", f.mode], ["Context Window Size", f.context]) },
  { name: "Cline", path: "chat/completions", where: "Settings › API Configuration",
    text: (f) => form(["API Provider", "OpenAI Compatible"], ["Base URL", f.url], ["API Key", f.key], ["Model ID", f.mode], ["Context Window Size", f.context]) },
  { name: "Continue", path: "chat/completions", where: "~/.continue/config.yaml, in the list of models", text: continueConfig },
  { name: "Cursor", path: "chat/completions", where: "Settings › Models › Override OpenAI Base URL",
    note: "Cursor calls from its own servers: this needs a public HTTPS address with a valid certificate in front of the gateway; a private address is refused. Tab completion cannot be redirected.",
    text: (f) => form(["Override OpenAI Base URL", f.url], ["OpenAI API Key", f.key], ["Model", f.mode]) },
  { name: "Claude Code", path: "messages", where: "a shell",
    text: (f) => [`export ANTHROPIC_BASE_URL=${shell(f.base)}`, `export ANTHROPIC_AUTH_TOKEN=${f.key}`, `export ANTHROPIC_MODEL=${shell(f.mode)}`,
      `export CLAUDE_CODE_MAX_CONTEXT_TOKENS=${f.context}`, "claude"].join("\n") },
  { name: "Codex", path: "responses", where: "~/.codex/config.toml",
    text: (f) => [`model = ${quoted(f.mode)}`, 'model_provider = "rolemesh"', `model_context_window = ${f.context}`, "", "[model_providers.rolemesh]",
      'name = "rolemesh"', `base_url = ${quoted(f.url)}`, 'wire_api = "responses"'].join("\n") },
  { name: "Zed", path: "chat/completions", where: "settings.json; the key that it asks for is the gateway's, or any text where that has none",
    text: (f) => json({ language_models: { openai_compatible: { rolemesh: { api_url: f.url, available_models: [{ name: f.mode, display_name: `rolemesh ${f.mode}`, max_tokens: f.context }] } } } }) },
  { name: "Aider", path: "chat/completions", where: "a shell", text: (f) => `aider --openai-api-base ${shell(f.url)} --openai-api-key ${f.key} --model ${shell(`openai/${f.mode}`)}` },
  { name: "llama.vscode", path: "infill", where: "settings.json", text: (f) => json({ "llama-vscode.endpoint": f.base }) },
  { name: "Open WebUI", path: "chat/completions", where: "Admin Settings › Connections › OpenAI API",
    note: "Open WebUI gives up after 300 s in all: set AIOHTTP_CLIENT_TIMEOUT for long answers.", text: (f) => form(["URL", f.url], ["API Key", f.key], ["Model IDs", f.mode]) },
];

export const EDITOR_NAMES = EDITORS.map((e) => e.name);

/** One editor's snippet for a role: {name, where, served, note, text}. origin: of the gateway, as this page reached it;
 * keyed: it wants a key, which this page does not know. */
export function snippetOf(name, role, origin, keyed) {
  const editor = EDITORS.find((e) => e.name === name) || EDITORS[0];
  const mode = role.modes?.[0] || role.name;
  const base = `${origin}/${mode}`;
  const served = SERVED[editor.path];
  const missing = `This gateway does not serve ${editor.name}'s dialect (/${editor.path}) yet: it answers 501. The lines below are what will be needed.`;
  return { name: editor.name, where: editor.where, served, note: [served ? "" : missing, editor.note || ""].filter(Boolean).join(" "),
    text: editor.text({ mode, base, url: urlOf(role, origin), context: role.context || 0, lane: role.lane, key: keyed ? "YOUR-ROLEMESH-KEY" : "any" }) };
}

/** The OpenAI base URL of a role. */
export const urlOf = (role, origin) => (typeof role.urls?.[0] === "string" && role.urls[0].startsWith("/") ? origin + role.urls[0] : `${origin}/${role.modes?.[0] || role.name}/v1`);
