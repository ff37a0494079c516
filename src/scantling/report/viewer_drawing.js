// Drawing of a slice: the image with its brightness and contrast, contours, errors, uncertainty.

/** Brightness and contrast as a table of 256 values; 0 and 1 leave the image as it is. */
function toneTable(brightness, contrast) {
  return Uint8ClampedArray.from({ length: 256 }, (_, value) => (value - 128) * contrast + 128 + brightness * 255);
}

/** A plane of grey or of colours as a canvas; `only`: one of the three colours, as grey. */
function imageCanvas({ width, height, bytes }, tones, only = null) {
  const pixels = new ImageData(width, height);
  const colours = bytes.length / (width * height);
  for (let place = 0, from = 0, to = 0; place < width * height; place++, from += colours, to += 4) {
    for (let colour = 0; colour < 3; colour++) {
      pixels.data[to + colour] = tones[bytes[from + (colours === 1 ? 0 : (only ?? colour))]];
    }
    pixels.data[to + 3] = 255;
  }
  return canvasOf(pixels);
}

/** A plane of numbers as a canvas of one colour: `opacityOf(number)` from 0 to 1. */
function paintedCanvas({ width, height, bytes }, colour, opacityOf) {
  const pixels = new ImageData(width, height);
  const parts = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  for (let place = 0, to = 0; place < bytes.length; place++, to += 4) {
    const opacity = opacityOf(bytes[place]);
    if (opacity) pixels.data.set([...parts, opacity * 255], to);
  }
  return canvasOf(pixels);
}

function canvasOf(pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** A contour with a dark rim, so that it tells on bright and on dark images. */
function strokeContour(pen, path, colour, { dashed, ratio, opacity }) {
  pen.save();
  pen.globalAlpha = opacity;
  pen.setLineDash(dashed ? [7 * ratio, 5 * ratio] : []);
  for (const [style, width] of [["rgb(0 0 0 / .7)", 3.6], [colour, 1.8]]) {
    pen.strokeStyle = style;
    pen.lineWidth = width * ratio;
    pen.stroke(path);
  }
  pen.restore();
}

/** Draw the open slice of `view` (see viewer.js) on the canvas of its stage. */
function drawSlice(canvas, view) {
  const { payload, volume, mode, slice, ratio } = view;
  const { axes } = payload.planes[view.plane];
  const pen = canvas.getContext("2d");
  const fill = (picture) => pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const plane = (bytes, shape = payload.shape) => planeOf(bytes, shape, axes, slice);
  const outline = (found, colour, options) => {
    const path = contourPath(contourLoops(found), canvas.width / found.width, canvas.height / found.height);
    strokeContour(pen, path, colour, { ratio, opacity: view.opacity, dashed: false, ...options });
  };
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (view.image) {
    const found = sliceOfCoarse(view.image, payload.shape, axes, slice);
    pen.imageSmoothingEnabled = Math.max(found.width, found.height) >= 200; // small pictures keep their pixels
    fill(imageCanvas(found, toneTable(view.brightness, view.contrast), view.only));
  }
  pen.imageSmoothingEnabled = false;
  if (mode === "errors" && volume.errors) {
    const codes = plane(volume.errors);
    for (const { code, colour } of payload.codes) {
      const inside = { ...codes, bytes: codes.bytes.map((value) => value === code) };
      fill(paintedCanvas(inside, colour, (value) => value * view.opacity * 0.5));
      outline(inside, colour, {});
    }
  }
  if (mode === "uncertainty" && view.doubt) {
    const found = sliceOfCoarse(view.doubt, payload.shape, axes, slice);
    pen.imageSmoothingEnabled = true;
    fill(paintedCanvas(found, view.glow, (value) => (value / 255) * view.opacity));
  }
  if (mode === "contours" || mode === "uncertainty") {
    const sides = mode === "contours" ? ["truth", "mask"] : ["mask"];
    for (const side of sides.filter((one) => volume[one] && view.shown[one])) {
      payload.classes.forEach(({ colour }, number) => {
        if (view.classes[number]) outline(plane(volume[side].at(number)), colour, { dashed: side === "mask" });
      });
    }
  }
  if (mode !== "image" && volume.counted) {
    outline(plane(volume.counted), "#8A80C0", { opacity: 0.6 });
  }
}

/** A slice of an image whose slices may be smaller than those of the masks; it is enlarged when it is drawn. */
function sliceOfCoarse({ bytes, shape }, full, axes, slice) {
  const index = Math.min(shape[axes[0]] - 1, Math.floor(((slice + 0.5) * shape[axes[0]]) / full[axes[0]]));
  return planeOf(bytes, shape, axes, index);
}
