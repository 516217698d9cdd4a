package flows

// An Emitter takes the flows that a part of the pipeline consists of, one in each
// call. Next is the table to go to, or [Drop].
type Emitter func(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action)

// NewFlow makes a flow. Next is the table to go to, or [Drop].
func NewFlow(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action) Flow {
	return Flow{Key: Key{t, priority, match}, Cookie: cookie, Actions: NewActions(next, as...)}
}

// Collect returns an emitter that appends to a list.
func Collect(to *[]Flow) Emitter {
	return func(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action) {
		*to = append(*to, NewFlow(t, priority, cookie, match, next, as...))
	}
}
