// Khronos glTF validator: node tools/validate_glb.mjs FILE... prints one JSON line per file; exit 1 on any error.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const validator = createRequire(import.meta.url)("gltf-validator");
let failed = false;
for (const file of process.argv.slice(2)) {
  const report = await validator.validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 50 });
  const { numErrors, numWarnings, numInfos, numHints, messages } = report.issues;
  failed ||= numErrors > 0;
  console.log(JSON.stringify({ file, errors: numErrors, warnings: numWarnings, infos: numInfos, hints: numHints, messages: messages.slice(0, 20) }));
}
process.exit(failed ? 1 : 0);
