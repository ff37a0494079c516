// Contours of masks: closed lines along the edges of pixels.

/** For a plane of 0 and 1 the closed lines around it, each a list [x0, y0, x1, y1, ...] of corners in pixels. */
function contourLoops({ width, height, bytes }) {
  // Each corner of a pixel keeps the directions in which an edge leaves it: 1 right, 2 down, 4 left, 8 up. Edges run
  // clockwise around what is inside.
  const stride = width + 1;
  const leaving = new Uint8Array(stride * (height + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = y * width + x;
      if (!bytes[place]) continue;
      const corner = y * stride + x;
      if (y === 0 || !bytes[place - width]) leaving[corner] |= 1;
      if (x === width - 1 || !bytes[place + 1]) leaving[corner + 1] |= 2;
      if (y === height - 1 || !bytes[place + width]) leaving[corner + stride + 1] |= 4;
      if (x === 0 || !bytes[place - 1]) leaving[corner + stride] |= 8;
    }
  }
  const loops = [];
  const moves = [1, stride, -1, -stride];
  for (let start = 0; start < leaving.length; start++) {
    while (leaving[start]) {
      const points = [];
      let corner = start;
      let heading = Math.log2(leaving[start] & -leaving[start]);
      let before = -1;
      do {
        if (heading !== before) points.push(corner % stride, Math.floor(corner / stride));
        leaving[corner] &= ~(1 << heading);
        corner += moves[heading];
        before = heading;
        // Turn right first, then straight on, then left: pixels that touch at a corner have lines of their own.
        heading = [1, 0, 3].map((turn) => (heading + turn) % 4).find((next) => leaving[corner] & (1 << next)) ?? -1;
      } while (heading >= 0 && corner !== start);
      loops.push(points);
    }
  }
  return loops;
}

/** The loops as a path on a canvas whose pixels are `across` and `down` times those of the plane. */
function contourPath(loops, across, down) {
  const path = new Path2D();
  for (const points of loops) {
    for (let place = 0; place < points.length; place += 2) {
      const [x, y] = [points[place] * across, points[place + 1] * down];
      if (place === 0) path.moveTo(x, y);
      else path.lineTo(x, y);
    }
    path.closePath();
  }
  return path;
}
