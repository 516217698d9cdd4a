package policy

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// A YAML parser costs about as much to set up as a small manifest costs to
// parse. So many files are parsed as one stream of documents. Only if all is
// well does that count: a file with anything wrong in it is decoded by itself,
// and if the stream breaks off, all of them are.

// batchFiles and batchSize bound a stream; larger files go by themselves.
const (
	batchFiles = 64
	batchSize  = 64 << 10 // bytes
)

// decoded is what Decode says of a file.
type decoded struct {
	objects  Objects
	problems []Problem
}

// decodeMany is Decode for several files.
func decodeMany(files []File) []decoded {
	out := make([]decoded, len(files))
	for from := 0; from < len(files); {
		to, size := from, 0
		for to < len(files) && to-from < batchFiles && size+len(files[to].Data) <= batchSize && streamable(files[to].Data) {
			size += len(files[to].Data)
			to++
		}
		if to-from < 2 || !decodeStream(files[from:to], out[from:to]) {
			to = max(to, from+1)
			for i := from; i < to; i++ {
				out[i].objects, out[i].problems = Decode(files[i])
			}
		}
		from = to
	}
	return out
}

// streamable says whether a file may stand in a stream. The last line must be
// whole, as it may be of a text whose end counts; directives and ends of
// documents mean something else at the beginning of a file.
func streamable(data []byte) bool {
	if len(data) == 0 || data[len(data)-1] != '\n' || data[0] == '%' || data[0] == '.' {
		return false
	}
	return !bytes.Contains(data, []byte("\n%")) && !bytes.Contains(data, []byte("\n."))
}

const separator = "---\n"

// decodeStream decodes files as one stream; false if that cannot be done.
func decodeStream(files []File, out []decoded) bool {
	var stream []byte
	first := make([]int, len(files)) // the line before the first of each file
	line := 0
	for i, f := range files {
		first[i] = line
		stream = append(append(stream, f.Data...), separator...)
		line += bytes.Count(f.Data, []byte{'\n'}) + 1
	}
	decoders := make([]decoder, len(files))
	for i, f := range files {
		decoders[i].file = f.Name
	}
	dec := yaml.NewDecoder(bytes.NewReader(stream))
	for at := 0; ; {
		var doc yaml.Node
		err := next(dec, &doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false
		}
		root := rootOf(&doc)
		if root == nil {
			continue
		}
		for at+1 < len(files) && root.Line > first[at+1] {
			at++
		}
		if root.Line <= first[at] {
			return false
		}
		shift(root, first[at])
		decoders[at].document(root)
	}
	for i := range decoders {
		d := &decoders[i]
		if len(d.problems) == 0 {
			d.duplicates()
		}
		if len(d.problems) == 0 && !d.objects.empty() {
			out[i].objects = d.objects
		} else {
			out[i].objects, out[i].problems = Decode(files[i])
		}
	}
	return true
}

// shift makes the lines of nodes count from the first of their file.
func shift(n *yaml.Node, by int) {
	n.Line -= by
	for _, c := range n.Content {
		shift(c, by)
	}
}

func (o *Objects) empty() bool {
	return len(o.Groups) == 0 && len(o.Subnets) == 0 && len(o.VirtualMachines) == 0
}
