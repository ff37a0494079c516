// What tools do to the layers of a mask: all of it on one slice of one plane, so that it can be undone slice by slice.

/** Access to one slice of the layers of a mask: `shape` [D, H, W], `axes` of the plane [slices, rows, columns]. */
function sliceOf(volume, shape, axes, slice) {
  const steps = [shape[1] * shape[2], shape[2], 1];
  const [height, width] = [shape[axes[1]], shape[axes[2]]];
  const layers = Array.from({ length: volume.mask.classes }, (_, number) => volume.mask.at(number));
  const place = (row, column) => slice * steps[axes[0]] + row * steps[axes[1]] + column * steps[axes[2]];
  return {
    height, width, layers, place,
    /** A copy of the slice of every layer. */
    copy() {
      return layers.map((layer) => {
        const found = new Uint8Array(height * width);
        for (let row = 0, to = 0; row < height; row++) {
          for (let column = 0; column < width; column++, to++) found[to] = layer[place(row, column)];
        }
        return found;
      });
    },
    /** Write a copy back. */
    restore(copy) {
      layers.forEach((layer, number) => {
        for (let row = 0, from = 0; row < height; row++) {
          for (let column = 0; column < width; column++, from++) layer[place(row, column)] = copy[number][from];
        }
      });
    },
    /** Make a pixel one of class `number`, or of none (erase); where classes exclude each other, of no other one. */
    set(row, column, number, erase, exclusive) {
      const at = place(row, column);
      if (exclusive) for (const layer of layers) layer[at] = 0;
      layers[number][at] = erase ? 0 : 1;
    },
  };
}

/** Paint discs along the way from one pixel to another; `size` is their diameter in pixels of the finer side. */
function paintLine(target, from, to, { size, spacing, number, erase, exclusive }) {
  const finest = Math.min(...spacing);
  const [tall, wide] = spacing.map((one) => Math.max(0.5, (size * finest) / one / 2));
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
  for (let step = 0; step <= steps; step++) {
    const row = from[0] + ((to[0] - from[0]) * step) / steps;
    const column = from[1] + ((to[1] - from[1]) * step) / steps;
    for (let r = Math.max(0, Math.ceil(row - tall)); r <= Math.min(target.height - 1, row + tall); r++) {
      for (let c = Math.max(0, Math.ceil(column - wide)); c <= Math.min(target.width - 1, column + wide); c++) {
        const far = ((r - row) / tall) ** 2 + ((c - column) / wide) ** 2;
        if (far <= 1) target.set(r, c, number, erase, exclusive);
      }
    }
  }
}

/** Fill a closed outline of [row, column]: the pixels whose centres lie inside, by the even-odd rule, and its border. */
function fillOutline(target, points, options) {
  for (let row = 0; row < target.height; row++) {
    const cuts = [];
    points.forEach(([row1, column1], place) => {
      const [row2, column2] = points[(place + 1) % points.length];
      if (row1 <= row !== row2 <= row) cuts.push(column1 + ((row - row1) / (row2 - row1)) * (column2 - column1));
    });
    cuts.sort((one, other) => one - other);
    for (let pair = 0; pair + 1 < cuts.length; pair += 2) {
      const last = Math.min(target.width - 1, Math.floor(cuts[pair + 1]));
      for (let column = Math.max(0, Math.ceil(cuts[pair])); column <= last; column++) {
        target.set(row, column, options.number, options.erase, options.exclusive);
      }
    }
  }
  points.forEach((point, place) =>
    paintLine(target, point, points[(place + 1) % points.length], { ...options, size: 1, spacing: [1, 1] }));
}

/** What was done, and what was undone: each a slice before and after. */
function history(most = 50) {
  let done = [];
  let undone = [];
  const move = (from, to, key) => {
    const step = from.pop();
    if (step) to.push(step);
    return step ? { ...step, copy: step[key] } : null;
  };
  return {
    push(step) {
      done = [...done.slice(1 - most), step];
      undone = [];
    },
    undo: () => move(done, undone, "before"),
    redo: () => move(undone, done, "after"),
    get sizes() {
      return [done.length, undone.length];
    },
  };
}

/** The lengths of runs of 0, 1, 0, … of a layer. */
function runLengths(layer) {
  const runs = [];
  let value = 0;
  let length = 0;
  for (const one of layer) {
    if ((one ? 1 : 0) === value) length++;
    else {
      runs.push(length);
      value = 1 - value;
      length = 1;
    }
  }
  runs.push(length);
  return runs;
}
