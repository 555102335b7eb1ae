// What assets/series.js promises; TestSeries runs both as one module.

import assert from 'node:assert/strict'

const at = (...times) => times.map(t => ({ at: t, seconds: 1 }))
const timesOf = points => points.map(p => p.at)
const tests = {
  'points are put behind those that are there, and one that has grown in its place'() {
    assert.deepEqual(timesOf(joined(at(1, 2), at(3, 4))), [1, 2, 3, 4])
    assert.deepEqual(timesOf(joined(at(1, 2), [])), [1, 2])
    assert.deepEqual(timesOf(joined([], at(7))), [7])
    const grown = joined(at(10, 20), [{ at: 20, seconds: 5 }, { at: 30, seconds: 1 }])
    assert.deepEqual(grown.map(p => [p.at, p.seconds]), [[10, 1], [20, 5], [30, 1]])
  },
  'there are never more than a chart has room for'() {
    const list = n => at(...Array(n).keys())
    for (const n of [mostPoints - 1, mostPoints, mostPoints + 1]) {
      assert.equal(joined(list(n), []).length, Math.min(n, mostPoints))
      assert.equal(joined(list(n), at(n)).length, Math.min(n + 1, mostPoints))
      assert.equal(joined(list(n), at(n)).at(-1).at, n)
    }
  },
  'a view is no wider than what there is'() {
    assert.deepEqual(viewOf([], 1, 300, null), { from: 0, to: leastSpan })
    assert.deepEqual(viewOf(at(100), 1, 300, null), { from: 101 - leastSpan, to: 101 })
    const points = at(...Array.from({ length: 100 }, (_, i) => 1000 + i))
    assert.deepEqual(viewOf(points, 1, 300, null), { from: 1000, to: 1100 })
    for (const seconds of [99, 100, 101]) assert.equal(viewOf(points, 1, seconds, null).from, Math.max(1000, 1100 - seconds))
    assert.deepEqual(viewOf(points, 1, 0, null), { from: 1000, to: 1100 })
    assert.deepEqual(viewOf(points, 1, 60, { from: 1010, to: 1020 }), { from: 1010, to: 1020 })
  },
  'what is asked for reaches back to what is looked at'() {
    assert.equal(spanOf(3600, null, 5000), 3600)
    assert.equal(spanOf(0, null, 5000), 0)
    assert.equal(spanOf(0, { from: 4000.5, to: 4100 }, 5000), 1000)
    assert.equal(spanOf(0, { from: 6000, to: 6001 }, 5000), 1)
  },
  'looking closer stays within what there is, and ends at all of it'() {
    const all = { from: 0, to: 100 }
    assert.deepEqual(scaled(all, 50, 1 / 2, all, 5), { from: 25, to: 75 })
    assert.deepEqual(scaled(all, 0, 1 / 2, all, 5), { from: 0, to: 50 })
    assert.deepEqual(scaled({ from: 50, to: 100 }, 100, 1 / 2, all, 5), { from: 75, to: 100 })
    assert.deepEqual(scaled({ from: 90, to: 100 }, 95, 2, all, 5), { from: 80, to: 100 })
    assert.deepEqual(scaled({ from: 10, to: 16 }, 13, 1 / 2, all, 5), { from: 10.5, to: 15.5 })
    assert.equal(scaled({ from: 25, to: 75 }, 50, 2, all, 5), null)
  },
  'a time is in the last point that begins before it'() {
    const points = at(10, 20, 30)
    for (const [time, i] of [[9.9, -1], [10, 0], [19.9, 0], [20, 1], [30, 2], [99, 2]]) assert.equal(indexAt(points, time), i, `at ${time}`)
    assert.equal(indexAt([], 5), -1)
  },
  'a time without a point is a gap'() {
    const value = p => p.at * 2
    assert.deepEqual(columnsOf(at(1, 2, 5), 1, [value]), [[1, 2, 3, 5, 6], [2, 4, null, 10, null]])
    assert.deepEqual(columnsOf(at(0, 10), 10, [value]), [[0, 10, 20], [0, 20, null]])
    assert.deepEqual(columnsOf([], 10, [value, value]), [[], [], []])
    assert.deepEqual(alone([1, null, 2, 3, null, 4]), [0, 5])
    assert.deepEqual(alone([0]), [0])
    assert.deepEqual(alone([null, undefined]), [])
  },
  'rows cover all times once'() {
    let before = 0
    for (let row = 0; row < 74; row++) {
      const [low, high] = bounds(row)
      assert.equal(low, before)
      assert.ok(high > low)
      assert.equal(rowAt(low), row)
      assert.equal(rowAt(high - 1), row)
      before = high
    }
    assert.equal(before, 2 ** 40)
    assert.equal(rowOf(591), 73)
    assert.deepEqual([0, 15, 16, 31, 32, 33, 591].map(upper), [0, 15, 16, 31, 33, 35, 2 ** 40 - 1])
  },
  'a histogram is read'() {
    assert.deepEqual(cellsOf([3, 10, 7, 1]), [[3, 10], [7, 1]])
    assert.deepEqual(cellsOf(undefined), [])
    assert.equal(fullest([[3, 10], [7, 11], [8, 1]]), 7)
    assert.ok(shade(1, 1e6) > 0.2 && shade(1, 1e6) < shade(1000, 1e6) && shade(1e6, 1e6) === 1)
  },
  'scales end at a round number'() {
    for (const [most, end] of [[1, 2], [2, 2], [2.1, 4], [5, 10], [10, 20], [999, 1000], [0.3, 0.4]]) assert.ok(Math.abs(niceAbove(most) - end) < 1e-9, `${most}`)
    assert.deepEqual(decades(120e3, 3e6), { low: 1e5, high: 1e7, marks: [1e5, 1e6, 1e7] })
    assert.deepEqual(decades(Infinity, -Infinity), { low: 1e5, high: 1e6, marks: [1e5, 1e6] })
    assert.deepEqual(decades(1, 5e9), { low: 1, high: 1e10, marks: [1, 100, 1e4, 1e6, 1e8, 1e10] })
  },
  'a time on the axis is as short as it can be'() {
    const noon = new Date(2026, 10, 24, 12, 5, 7, 250) / 1000
    assert.equal(timeMark(noon, 0.1), '12:05:07.250')
    assert.equal(timeMark(noon, 1), '12:05:07')
    assert.equal(timeMark(noon, 60), '12:05')
    assert.equal(timeMark(noon, 86400), '11-24')
    assert.equal(timeMark(new Date(2026, 10, 24) / 1000, 3600), '11-24')
  },
}
let failed = 0
for (const [name, test] of Object.entries(tests)) {
  try {
    test()
  } catch (error) {
    failed++
    console.log(`${name}: ${error.message}`)
  }
}
process.exitCode = failed ? 1 : 0
