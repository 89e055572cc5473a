// The service worker: the page without a network, and newer builds of it.

/** Keep the site on this device; `kept` hears of it, `newer` of a build that waits, with what puts it in place. */
export async function keepForOffline({ kept, newer }) {
  if (!("serviceWorker" in navigator)) return;
  const registration = await navigator.serviceWorker.register("service-worker.js");
  const replace = () => {
    navigator.serviceWorker.oncontrollerchange = () => location.reload();
    registration.waiting.postMessage("take over");
  };
  const tell = () => registration.waiting && registration.active && newer(replace);
  registration.onupdatefound = () => (registration.installing.onstatechange = tell);
  tell();
  await navigator.serviceWorker.ready;
  kept();
}
