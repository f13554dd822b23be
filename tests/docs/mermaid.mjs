// Parse the diagrams of Markdown pages with the real Mermaid. Usage: node mermaid.mjs MODULES PAGE…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, ...pages] = process.argv.slice(2);
const { resolve } = createRequire(`${modules}/`);
const { JSDOM } = await import(pathToFileURL(resolve("jsdom")));
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import(pathToFileURL(`${modules}/node_modules/mermaid/dist/mermaid.core.mjs`));

for (const page of pages) {
    const diagrams = [...readFileSync(page, "utf8").matchAll(/^```mermaid\n([^]*?)^```$/gm)];
    if (!diagrams.length) throw new Error(`${page}: no diagram`);
    for (const [, text] of diagrams) {
        await mermaid.parse(text);
        const { db, type } = await mermaid.mermaidAPI.getDiagramFromText(text);
        const parts = type === "er" ? `${db.getEntities().size} entities, ${db.getRelationships().length} relations` : "";
        console.log(`${page}: ${type} ${parts}`);
    }
}
