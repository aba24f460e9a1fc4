// Sends to $REMOVEBG_URL what is meant for api.remove.bg, whichever package sends it through `https` of Node:
// REMOVEBG_URL=http://127.0.0.1:8000 node --require ./docs/removebg-url.cjs program.js
const http = require('http');
const https = require('https');
const { urlToHttpOptions } = require('url');

const named = process.env.REMOVEBG_URL || '';
if (!/^https?:\/\/[^/]+\/?$/.test(named)) {
  console.error('REMOVEBG_URL: http:// or https:// and a host are expected, like http://127.0.0.1:8000');
  process.exit(2);
}
const { protocol, hostname, port } = urlToHttpOptions(new URL(named));
const there = { 'http:': http.request, 'https:': https.request }[protocol];
const elsewhere = https.request;

https.request = function (first, ...rest) {
  const isUrl = typeof first === 'string' || first instanceof URL;
  const more = isUrl && typeof rest[0] === 'object' ? rest.shift() : {};
  const asked = isUrl ? { ...urlToHttpOptions(new URL(first)), ...more } : first;
  if ((asked.hostname || asked.host) !== 'api.remove.bg') return elsewhere.call(this, asked, ...rest);
  const headers = Object.entries(asked.headers || {}).filter(([name]) => name.toLowerCase() !== 'host');
  const address = { protocol, host: hostname, hostname, port, agent: undefined };
  return there({ ...asked, ...address, headers: Object.fromEntries(headers) }, ...rest);
};

https.get = function (...asked) {
  const request = https.request(...asked);
  request.end();
  return request;
};
