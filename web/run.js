// Draws on a node what its run sends: a curve of similarity for each person and picture, a line of words, and a button
// that ends the run with the best picture so far. What it shows is kept in the node's properties, and so in the workflow.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const EVENT = "rectifid.run" // of nodes/host/run/live.py
const ROUTE = "/rectifid/stop"
const NAME = "rectifid_run"
const PROPERTY = "rectifid_run"
const SAMPLERS = ["AnchoredRectifiedSampler", "FindSeed"] // which have the place for it from the start
const HEIGHT = 104
const COLORS = ["#4fc3f7", "#ffb74d", "#81c784", "#f06292", "#ba68c8", "#fff176", "#90a4ae", "#a1887f"]

const STYLE = `
.rectifid-run { position: relative; pointer-events: auto; display: flex; flex-direction: column; gap: 2px; box-sizing: border-box;
  width: 100%; height: ${HEIGHT}px; max-height: ${HEIGHT}px; padding: 2px 4px; font: 12px sans-serif; color: var(--input-text, #ddd); overflow: hidden; }
.rectifid-run svg { flex: 1; min-height: 0; width: 100%; background: var(--comfy-input-bg, #222); border-radius: 4px; }
.rectifid-run .words { min-height: 16px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.rectifid-run button { position: absolute; right: 8px; bottom: 24px; padding: 2px 8px; font: inherit; cursor: pointer; border-radius: 4px; border: 1px solid #888;
  background: #b3541e; color: #fff; white-space: nowrap; }
.rectifid-run button[hidden] { display: none; }`

/** The nodes of an execution id such as "12:5", from the outermost subgraph to the node that runs. */
function nodesOf(id) {
  let graph = app.rootGraph ?? app.graph?.rootGraph ?? app.graph
  const found = []
  for (const part of String(id).split(":")) {
    const node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part))
    if (!node) return found
    found.push(node)
    graph = node.subgraph
  }
  return found
}

/** In the editor's language, where locales/<language>/main.json has them. */
let words = {}
const say = (text) => words[text] ?? text

async function readWords() {
  const all = await (await api.fetchApi("/i18n")).json()
  words = all[app.ui.settings.getSettingValue("Comfy.Locale")]?.rectifid ?? {}
}

function stop(element) {
  element.querySelector("button").disabled = true
  api.fetchApi(ROUTE, { method: "POST", body: JSON.stringify({ node: element.dataset.node }) })
}

function newElement() {
  const element = document.createElement("div")
  element.className = "rectifid-run"
  element.innerHTML =
    '<svg viewBox="0 0 100 100" preserveAspectRatio="none"></svg>' +
    '<div class="words"></div><button hidden></button>'
  element.querySelector("button").addEventListener("click", () => stop(element))
  return element
}

/** The widget of a node; made where there is none yet, at its end, so that the values of the others keep their places. */
function widgetOf(node) {
  let widget = node.widgets?.find(({ name }) => name === NAME)
  if (widget) return widget
  const size = { getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT, getHeight: () => HEIGHT }
  widget = node.addDOMWidget(NAME, NAME, newElement(), { serialize: false, hideOnZoom: false, ...size })
  widget.serialize = false
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])])
  draw(widget.element, { status: "", curves: {}, running: false })
  return widget
}

function polyline(values, color, low, count) {
  const points = values.flatMap((value, i) =>
    value === null ? [] : [`${(100 * i) / Math.max(1, count - 1)},${(100 * (1 - value)) / (1 - low)}`]
  )
  const style = `fill:none;stroke:${color};stroke-width:2;vector-effect:non-scaling-stroke`
  return `<polyline points="${points.join(" ")}" style="${style}"/>`
}

function draw(element, { status, curves, running }) {
  const lines = Object.entries(curves ?? {})
  const known = lines.flatMap(([, values]) => values.filter((value) => value !== null))
  const low = Math.min(0, ...known) - 0.02
  const count = Math.max(0, ...lines.map(([, values]) => values.length))
  element.querySelector("svg").innerHTML = lines
    .map(([, values], i) => polyline(values, COLORS[i % COLORS.length], low, count))
    .join("")
  element.querySelector(".words").textContent = status || (running ? "..." : say("The likeness of each iteration shows here."))
  const names = lines.map(([name, values]) => `${name || "similarity"}: ${values.at(-1) ?? "not found"}`)
  element.title = [status, ...names].join("\n")
  const button = element.querySelector("button")
  button.textContent = say("Stop and keep best")
  button.hidden = !running
  if (!running) button.disabled = false
}

function show(node, data, id) {
  const { element } = widgetOf(node)
  element.dataset.node = id
  draw(element, data)
  node.setDirtyCanvas?.(true)
}

/** On the node and on the subgraphs around it. */
function showOnAll(id, data) {
  const kept = { status: data.status, curves: data.curves, running: false }
  for (const node of nodesOf(id)) {
    node.properties[PROPERTY] = kept
    show(node, data, String(id))
  }
}

function restore(node) {
  const kept = node.properties?.[PROPERTY]
  if (kept) show(node, { ...kept, running: false }, String(node.id))
}

function everyNode(graph, visit) {
  for (const node of graph?.nodes ?? []) {
    visit(node)
    if (node.subgraph) everyNode(node.subgraph, visit)
  }
}

/** A run that was cancelled or failed sends no last word of its own. */
function nothingRuns() {
  everyNode(app.rootGraph ?? app.graph, (node) => {
    if (node.properties?.[PROPERTY]) restore(node)
  })
}

app.registerExtension({
  name: "RectifID.run",
  async setup() {
    document.head.appendChild(document.createElement("style")).textContent = STYLE
    api.addEventListener(EVENT, ({ detail }) => showOnAll(detail.node, detail))
    // of a node whose run comes out of the server's cache, too
    api.addEventListener("executed", ({ detail }) => {
      const data = detail.output?.rectifid?.[0]
      if (data) showOnAll(detail.node, data)
    })
    for (const end of ["execution_interrupted", "execution_error"]) api.addEventListener(end, nothingRuns)
    await readWords()
  },
  nodeCreated(node) {
    if (SAMPLERS.includes(node.comfyClass)) widgetOf(node)
    const onConfigure = node.onConfigure
    node.onConfigure = function (...args) {
      const result = onConfigure?.apply(this, args)
      restore(this)
      return result
    }
  },
})
