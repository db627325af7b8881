// In the frame, before the page's own code: hands the page's address to the notebook and back. The
// page keeps everything that its reader chooses behind the # of its address; here it cannot change
// that address itself.
(() => {
  const go = (address) => {
    const hash = address && `#${address}`;
    if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.replace(`about:srcdoc${hash || "#"}`);
  };
  if (window.name) location.replace(`about:srcdoc#${window.name}`);
  history.replaceState = (_state, _title, url) => {
    const [, address = ""] = String(url).split("#", 2);
    parent.postMessage({ saecircuits: address }, "*");
  };
  addEventListener("message", (event) => {
    if (event.source === parent && typeof event.data?.saecircuits === "string") go(event.data.saecircuits);
  });
})();
