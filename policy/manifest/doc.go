// Package manifest decodes YAML manifests into policy objects.
//
// Decoding is strict, so that a mistake in a manifest is an error at its line
// and never a policy that its author did not mean. [Decode] reads one file,
// [DecodeAll] many. What the fields mean is described in docs/manifests.md.
//
// The package is pure: it opens no file and reads no clock.
package manifest
