// The colours of the pack's sockets and their links, and what the editor offers where a link is dropped: the host gives
// sockets of other packs no colour, and offers nodes by their required inputs only.
import { app } from "../../scripts/app.js"

const COLORS = {
  RECTIFID_GUIDANCE: "#f06292",
  RECTIFID_DISCRIMINATOR: "#26c6da",
  RECTIFID_REPORT: "#d4e157",
  RECTIFID_SETTINGS: "#a1887f",
}

const TAKERS = {
  RECTIFID_GUIDANCE: ["AnchoredRectifiedSampler", "CombineGuidance", "LimitGuidance", "FindSeed", "IdentityGuidance"],
  RECTIFID_DISCRIMINATOR: ["EncodeReferenceIdentity", "LoadIdentity"],
  RECTIFID_REPORT: ["PlotConvergence"],
  RECTIFID_SETTINGS: ["AnchoredRectifiedSampler", "AnchoredSampler", "FindSeed"],
}

function offer() {
  const offered = LiteGraph.slot_types_default_out
  for (const [type, nodes] of Object.entries(TAKERS)) offered[type] = [...new Set([...nodes, ...(offered[type] ?? [])])]
}

/** Whenever a node is made: each change of the host's palette takes the colours of types away that it does not know. */
function color() {
  Object.assign(app.canvas.default_connection_color_byType, COLORS)
  Object.assign(app.canvas.constructor.link_type_colors, COLORS)
}

app.registerExtension({
  name: "RectifID.sockets",
  nodeCreated: color,
  setup() {
    color()
    offer()
    const rules = Object.entries(COLORS).map(([type, color]) => `--color-datatype-${type}: ${color};`)
    document.head.appendChild(document.createElement("style")).textContent = `:root { ${rules.join(" ")} }`
  },
})
