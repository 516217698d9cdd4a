package dirsource

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// A copy in the state directory begins with a seal: a line with the checksum of the
// rest. The line is a comment of YAML, so that a release without seals reads the
// copy as it reads any other. A copy without a seal is one of such a release.
const (
	sealBegin = "# ovs-sg accepted copy, sha256 of the rest: "
	sealSize  = len(sealBegin) + 2*sha256.Size + len("\n")
)

// appendSeal appends the seal of a content.
func appendSeal(b, data []byte) []byte {
	return fmt.Appendf(b, "%s%x\n", sealBegin, sha256.Sum256(data))
}

// seal returns what is stored of a content.
func seal(data []byte) []byte {
	return append(appendSeal(make([]byte, 0, sealSize+len(data)), data), data...)
}

// unseal returns the content of what is stored, and whether a seal vouches for it.
// The reason says why it is not what was stored.
func unseal(stored []byte) (data []byte, sealed bool, reason string) {
	switch begin := []byte(sealBegin)[:min(len(sealBegin), len(stored))]; {
	case len(stored) == 0:
		return nil, false, "is empty: it was not written to the end"
	case !bytes.HasPrefix(stored, begin):
		return stored, false, ""
	case len(stored) >= sealSize:
		data = stored[sealSize:]
		if bytes.Equal(stored[:sealSize], appendSeal(make([]byte, 0, sealSize), data)) {
			return data, true, ""
		}
	}
	return nil, false, "does not have its checksum: it is torn or was edited"
}

// formatPlace returns a place as text.
func formatPlace(p identity) []byte { return fmt.Appendf(nil, "device %d inode %d\n", p.dev, p.ino) }

// parsePlace returns the place of such a text; zero if it is none.
func parsePlace(text []byte) (p identity) {
	if n, err := fmt.Sscanf(string(text), "device %d inode %d", &p.dev, &p.ino); n != 2 || err != nil {
		return identity{}
	}
	return p
}
