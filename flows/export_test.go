package flows

// CompileWith and NewCompilerWith let the tests of exactness choose the hash.
var (
	CompileWith     = compileWith
	NewCompilerWith = newCompilerWith
)

// StartAt makes a compiler believe that epochs were given out before.
func (c *Compiler) StartAt(epoch uint32) {
	c.classes.adopt(installed{highest: epoch, mark: epoch})
}

// State is what Compile needs to know of the epochs.
func (c *Compiler) State() (map[uint16]Class, uint32) { return c.classes.byPort(), c.classes.mark }

// Reference is Compile with the compiler's hash.
func (c *Compiler) Reference(in Input) (*Set, error) { return compileWith(in, c.hash) }

// Stepwise says whether the next step can be made by itself.
func (c *Compiler) Stepwise() bool { return c.inc != nil }

// ClassNumbers are the classes that flows tell of, by ofport: for tests.
func ClassNumbers(s *Set) map[uint16]Epochs {
	in := readInstalled(s)
	out := map[uint16]Epochs{}
	for port, number := range in.ports {
		out[port] = in.classes[number].epochs
	}
	return out
}

// Hash is the compiler's.
func (c *Compiler) Hash() func(string) uint64 { return c.hash }
