// Makes calls of npm's dicomweb-client as it is told.
//
// calls.js BASE_URL FOLDER reads one call per line from standard input,
//
//     {"function": "retrieveInstanceRendered", "arguments": {"studyInstanceUID": "1.2", ...}}
//
// and writes for each what came of it, in the same order: {"error": "what the library threw", "status": 406},
// without status where it was not the server's, or {"files": ["javascript-0-0"]}, the payloads that the
// library returned, below FOLDER. `singlepart` beside `arguments` is the client's option of that name. The
// last line names the library's calls for renderings: {"offers": ["retrieveInstanceRendered", ...]}.
//
// CommonJS, since NODE_PATH, which says where the libraries are, holds for `require` only.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');

globalThis.XMLHttpRequest = require('xhr2');
const { DICOMwebClient } = require('dicomweb-client').api;

// The library chats on standard output.
console.debug = () => {};

const PATIENCE = 60_000;

async function main(url, folder) {
  let number = 0;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { function: name, arguments: options, singlepart } = JSON.parse(line);
    const client = new DICOMwebClient({ url, singlepart, verbose: false });
    say(await outcome(() => client[name](options), folder, number));
    number += 1;
  }
  say({ offers: offers() });
}

async function outcome(call, folder, number) {
  try {
    return { files: keep(await orLost(call), folder, number) };
  } catch (error) {
    return { error: `${error.name}: ${error.message}`, status: error.status };
  }
}

// What the library throws in the handlers of its requests reaches nobody, and its promise stays open.
function orLost(call) {
  let give;
  let timer;
  const lost = new Promise((_, reject) => {
    give = reject;
    timer = setTimeout(() => reject(new Error('neither kept nor broken')), PATIENCE);
  });
  process.once('uncaughtException', give);
  return Promise.race([Promise.resolve().then(call), lost]).finally(() => {
    process.removeListener('uncaughtException', give);
    clearTimeout(timer);
  });
}

function keep(result, folder, number) {
  const payloads = Array.isArray(result) ? result : [result];
  return payloads.map((payload, part) => {
    const name = `javascript-${number}-${part}`;
    const bytes = typeof payload === 'string' ? payload : Buffer.from(payload);
    fs.writeFileSync(path.join(folder, name), bytes);
    return name;
  });
}

function offers() {
  const methods = Object.getOwnPropertyNames(DICOMwebClient.prototype);
  return methods.filter((name) => /rendered|thumbnail/i.test(name));
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

main(process.argv[2], process.argv[3]);
