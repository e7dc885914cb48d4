// The colours of the pack's sockets and their links: the host gives sockets of other packs none.
import { app } from "../../scripts/app.js"

const COLORS = {
  RECTIFID_GUIDANCE: "#f06292",
  RECTIFID_DISCRIMINATOR: "#26c6da",
  RECTIFID_REPORT: "#d4e157",
  RECTIFID_SETTINGS: "#a1887f",
}

/** Whenever a node is made: each change of the host's palette takes the colours of types away that it does not know. */
function color() {
  Object.assign(app.canvas.default_connection_color_byType, COLORS)
  Object.assign(app.canvas.constructor.link_type_colors, COLORS)
}

app.registerExtension({
  name: "RectifID.colors",
  nodeCreated: color,
  setup() {
    color()
    const rules = Object.entries(COLORS).map(([type, color]) => `--color-datatype-${type}: ${color};`)
    document.head.appendChild(document.createElement("style")).textContent = `:root { ${rules.join(" ")} }`
  },
})
