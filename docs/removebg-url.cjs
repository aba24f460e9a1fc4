// Sends to $REMOVEBG_URL what is meant for api.remove.bg, whichever package of the program sends it by `https.request`:
// REMOVEBG_URL=http://127.0.0.1:8000 node --require ./docs/removebg-url.cjs program.js
const http = require('http');
const https = require('https');
const { urlToHttpOptions } = require('url');

const base = new URL(process.env.REMOVEBG_URL);
const there = { 'http:': http.request, 'https:': https.request }[base.protocol];
const elsewhere = https.request;

https.request = function (first, ...rest) {
  const isUrl = typeof first === 'string' || first instanceof URL;
  const more = isUrl && typeof rest[0] === 'object' ? rest.shift() : {};
  const asked = isUrl ? { ...urlToHttpOptions(new URL(first)), ...more } : first;
  if ((asked.hostname || asked.host) !== 'api.remove.bg') return elsewhere.call(this, asked, ...rest);
  const headers = Object.entries(asked.headers || {}).filter(([name]) => name.toLowerCase() !== 'host');
  const address = { protocol: base.protocol, host: base.hostname, hostname: base.hostname, port: base.port };
  return there({ ...asked, ...address, agent: undefined, headers: Object.fromEntries(headers) }, ...rest);
};
