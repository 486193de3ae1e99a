// What the pointer is on. The figure tells of it late, so the place is computed here, from the pixels of the panels.

const REACH = 16; // pixels from which a point is taken for meant

function panelBox(domain) {
  const [width, height] = [map.clientWidth - MARGIN.l - MARGIN.r, map.clientHeight - MARGIN.t - MARGIN.b];
  return {
    left: MARGIN.l + domain.x[0] * width,
    top: MARGIN.t + (1 - domain.y[1]) * height,
    width: (domain.x[1] - domain.x[0]) * width,
    height: (domain.y[1] - domain.y[0]) * height,
  };
}

// Panel and place in it, both directions from 0 to 1; null beside the panels.
function pointed(event) {
  const frame = map.getBoundingClientRect();
  const boxes = panelDomains().map(panelBox);
  for (const [panel, box] of boxes.entries()) {
    const along = (event.clientX - frame.left - box.left) / box.width;
    const upward = 1 - (event.clientY - frame.top - box.top) / box.height;
    if (along >= 0 && along < 1 && upward >= 0 && upward < 1) return { panel, along, upward, box };
  }
  return null;
}

// The cell or point under the pointer: its row, -1 where the sweep has none, and where it lies.
function underPointer(event) {
  const spot = pointed(event);
  if (!spot) return null;
  const place = { ...state.place };
  if (SCATTERED.size) {
    const row = nearestRow(spot);
    return row < 0 ? null : { row, panel: spot.panel, place };
  }
  const { cells, width, height } = cellsOf(visibleRows());
  const [x, y] = [Math.floor(spot.along * width), Math.floor(spot.upward * height)];
  if (state.across) place[state.across.name] = x;
  if (state.up) place[state.up.name] = y;
  return { row: cells[spot.panel][y * width + x], panel: spot.panel, place };
}

function nearestRow({ panel, along, upward, box }) {
  const part = (axis, row) => {
    const [low, high] = scatterRange(axis);
    return (coordinateOf(axis, row) - low) / (high - low);
  };
  let [nearest, least] = [-1, REACH];
  for (const row of visibleRows()) {
    if (panelOf(row) !== panel) continue;
    const distance = Math.hypot((part(state.across, row) - along) * box.width, (part(state.up, row) - upward) * box.height);
    if (distance < least) [nearest, least] = [row, distance];
  }
  return nearest;
}
