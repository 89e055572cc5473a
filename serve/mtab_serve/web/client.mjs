// The model in its worker, as functions of the page.

import { InputError } from "./preprocess.mjs";

/** Start the worker; `loaded` hears of bytes as they come, `failed` of a worker that cannot be started. */
export function startModel({ loaded, failed }) {
  const worker = new Worker("worker.mjs", { type: "module" });
  const waiting = new Map();
  let calls = 0;
  worker.onmessage = ({ data: { loaded: bytes, id, value, error, input } }) => {
    if (bytes) return loaded(bytes);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new (input ? InputError : Error)(error));
  };
  worker.onerror = (event) => failed(new Error(event.message || "the model's worker cannot be started"));

  // What one of its calls answers, or the error.
  return (call, values = {}) =>
    new Promise((resolve, reject) => {
      waiting.set(++calls, { resolve, reject });
      worker.postMessage({ id: calls, call, ...values });
    });
}
