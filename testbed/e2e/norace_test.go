//go:build !race

package e2e

// raceDetector says whether the tests were built with the race detector.
const raceDetector = false
