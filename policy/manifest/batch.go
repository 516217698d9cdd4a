package manifest

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/policy"
)

// To set up a YAML parser costs about as much as to parse a small manifest. So
// DecodeAll parses many files as one stream of documents. The outcome of a
// stream is used only for files without any error: a file with an error is
// decoded again by itself, and if the stream breaks off, every file of it is.

// batchFiles and batchSize bound a stream. A larger file is decoded by itself.
const (
	batchFiles = 64
	batchSize  = 64 << 10 // bytes
)

// Decoded is what Decode returns for a file.
type Decoded struct {
	Objects  policy.Objects
	Problems []policy.Problem
}

// DecodeAll decodes every file as Decode does, many at once on all processors,
// and returns the results in the order of the files. The objects share the names
// and lists that they have in common.
func DecodeAll(files []File) []Decoded {
	if len(files) == 0 {
		return nil
	}
	out := make([]Decoded, len(files))
	shared := sharedLists{known: make(map[string]groupList)}
	workers := min(runtime.GOMAXPROCS(0), 1+len(files)/(2*batchFiles))
	var next atomic.Int64
	work := func() {
		for {
			to := int(next.Add(batchFiles))
			from := to - batchFiles
			if from >= len(files) {
				return
			}
			to = min(to, len(files))
			decodeBatch(files[from:to], out[from:to])
			for i := from; i < to; i++ {
				shared.compact(&out[i].Objects)
			}
		}
	}
	var wait sync.WaitGroup
	for range workers - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	return out
}

// decodeBatch decodes files into out, as few streams as possible.
func decodeBatch(files []File, out []Decoded) {
	for from := 0; from < len(files); {
		to, size := from, 0
		for to < len(files) && size+len(files[to].Data) <= batchSize && streamable(files[to].Data) {
			size += len(files[to].Data)
			to++
		}
		if to-from < 2 || !decodeStream(files[from:to], out[from:to]) {
			to = max(to, from+1)
			for i := from; i < to; i++ {
				out[i].Objects, out[i].Problems = Decode(files[i])
			}
		}
		from = to
	}
}

// streamable reports whether a file may be part of a stream. Its last line must
// end in a newline, because the line may belong to a block scalar, where the
// newline counts. Directives and document end markers would act on the files
// before and after.
func streamable(data []byte) bool {
	if len(data) == 0 || data[len(data)-1] != '\n' || data[0] == '%' || data[0] == '.' {
		return false
	}
	return !bytes.Contains(data, []byte("\n%")) && !bytes.Contains(data, []byte("\n."))
}

const separator = "---\n"

// decodeStream decodes files as one stream. It returns false if the stream
// breaks off; out is then not to be used.
func decodeStream(files []File, out []Decoded) bool {
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
		if len(d.problems) == 0 && !empty(d.objects) {
			out[i].Objects = d.objects
		} else {
			out[i].Objects, out[i].Problems = Decode(files[i])
		}
	}
	return true
}

// shift subtracts by from the lines of n and of every node below it.
func shift(n *yaml.Node, by int) {
	n.Line -= by
	for _, c := range n.Content {
		shift(c, by)
	}
}

func empty(o policy.Objects) bool {
	return len(o.Groups) == 0 && len(o.Subnets) == 0 && len(o.VirtualMachines) == 0
}
