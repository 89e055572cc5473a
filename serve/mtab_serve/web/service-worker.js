// Keeps the site for when there is no network, as this build made it, and lets WebAssembly use threads.

"use strict";

// The SHA-256 of site.json, which has that of every other file: another build is another service worker.
const BUILD = "$BUILD";
const OURS = `mtab ${registration.scope} `;
const CACHE = OURS + BUILD;

async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A file from the server as the build made it, or an error. */
async function fetched(name, sha256) {
  // Not what the browser remembers of the build before.
  const response = await fetch(name, { cache: "no-cache" });
  const bytes = await response.arrayBuffer();
  if (!response.ok || (await digest(bytes)) !== sha256)
    throw new Error(`${name}: is not of build ${BUILD.slice(0, 12)}`);
  const headers = new Headers({ "content-type": response.headers.get("content-type") || "application/octet-stream" });
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  return new Response(bytes, { headers });
}

async function install() {
  const description = await fetched("site.json", BUILD);
  const { files } = await description.clone().json();
  const cache = await caches.open(CACHE);
  for (const [name, { sha256 }] of Object.entries(files)) await cache.put(name, await fetched(name, sha256));
  await cache.put("site.json", description);
}

async function activate() {
  const others = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
  await Promise.all(others.map((name) => caches.delete(name)));
  await clients.claim();
}

/** A file of this build, kept from now on if it was not yet; what is no file of it comes from the server. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const name = new URL(request.url).pathname.slice(new URL(registration.scope).pathname.length) || "index.html";
  const kept = await cache.match(name);
  if (kept) return kept;
  const { later } = await (await cache.match("site.json")).json();
  if (!later[name]) return fetch(request);
  const response = await fetched(name, later[name].sha256);
  await cache.put(name, response.clone());
  return response;
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", ({ data }) => data === "take over" && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});
