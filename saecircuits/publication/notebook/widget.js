// The notebook's side: a frame with the page, and its address kept equal to the model's.
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", model.get("_sandbox"));
  frame.title = model.get("_title");
  frame.name = model.get("address");
  frame.style.cssText = "width: 100%; border: 1px solid #ccc; border-radius: 4px";
  const size = () => (frame.style.height = `${model.get("height")}px`);
  let told = model.get("address");
  const receive = (event) => {
    if (event.source !== frame.contentWindow || typeof event.data?.saecircuits !== "string") return;
    told = event.data.saecircuits;
    model.set("address", told);
    model.save_changes();
  };
  const send = () => {
    const address = model.get("address");
    // What came from the page does not go back to it.
    if (address === told) return;
    told = address;
    frame.contentWindow?.postMessage({ saecircuits: address }, "*");
  };
  addEventListener("message", receive);
  model.on("change:address", send);
  model.on("change:height", size);
  size();
  frame.srcdoc = model.get("_page");
  el.append(frame);
  return () => {
    removeEventListener("message", receive);
    model.off("change:address", send);
    model.off("change:height", size);
    frame.remove();
  };
}

export default { render };
