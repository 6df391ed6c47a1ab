// A smooth line through scattered points, as `smoothed` in curves.py.

/** Local linear regression with Gaussian weights of a width in fractions of the range: it does not lag behind. */
export function smooth(line, width) {
  const scale = line.length ? width * (line.at(-1).x - line[0].x) : 0;
  if (!(scale > 0)) return line;
  let start = 0, end = 0;
  return line.map((point) => {
    while (point.x - line[start].x > 3 * scale) start++;
    while (end < line.length && line[end].x - point.x <= 3 * scale) end++;
    return { ...point, y: localLine(line.slice(start, end), point.x, scale) };
  });
}

function localLine(near, at, scale) {
  let total = 0, first = 0, second = 0, sum = 0, moment = 0, low = Infinity, high = -Infinity;
  for (const { x, y } of near) {
    const distance = (x - at) / scale, weight = Math.exp(-(distance ** 2) / 2);
    total += weight;
    first += weight * distance;
    second += weight * distance ** 2;
    sum += weight * y;
    moment += weight * distance * y;
    [low, high] = [Math.min(low, y), Math.max(high, y)];
  }
  const determinant = total * second - first ** 2;
  const fitted = determinant <= 1e-9 * total ** 2 ? sum / total : (second * sum - first * moment) / determinant;
  return Math.max(low, Math.min(high, fitted));
}
