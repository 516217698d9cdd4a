package ovsdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// The parts of a transaction (RFC 7047, section 5) are libovsdb's. A Row has
// values by column: string, float64, bool, UUID, Set or Map. A UUID may also be
// the UUIDName of an Operation of the same transaction.
type (
	Operation = ovsdb.Operation
	Result    = ovsdb.OperationResult
	Row       = ovsdb.Row
	Set       = ovsdb.OvsSet
	Map       = ovsdb.OvsMap
	UUID      = ovsdb.UUID
	Mutation  = ovsdb.Mutation
	Condition = ovsdb.Condition
)

// WhereUUID is the condition that holds for one row.
func WhereUUID(uuid string) []Condition {
	return []Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, UUID{GoUUID: uuid})}
}

// TransactError is a transaction that the server refused. Nothing of it was
// done.
type TransactError struct {
	// Operation is the index of the operation that failed; one more than the
	// last index when the commit failed.
	Operation int
	// Kind is the error's fixed text, such as "constraint violation" (RFC
	// 7047, section 3.1 and 5.2).
	Kind string
	// Details is the server's explanation, if any.
	Details string
}

// Error implements error.
func (e *TransactError) Error() string {
	text := fmt.Sprintf("transact: operation %d: %s", e.Operation, e.Kind)
	if e.Details != "" {
		text += ": " + e.Details
	}
	return text
}

// Transact runs ops as one transaction and returns one result for each. It
// waits for a connection if there is none. If the server refused the
// transaction, the error is a *TransactError. After any other error, as when
// the connection breaks or ctx ends, it is not known whether the transaction
// was done, or will be.
func (c *Client) Transact(ctx context.Context, ops ...Operation) ([]Result, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	return s.transact(ctx, ops...)
}

func (s *session) transact(ctx context.Context, ops ...Operation) ([]Result, error) {
	var results []Result
	err := s.call(ctx, func(ctx context.Context) (err error) {
		results, err = s.db.Transact(ctx, ops...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("transact: %w", err)
	}
	for i, r := range results {
		if r.Error != "" {
			return nil, &TransactError{Operation: i, Kind: r.Error, Details: r.Details}
		}
	}
	if len(results) != len(ops) {
		return nil, fmt.Errorf("transact: %d results of %d operations", len(results), len(ops))
	}
	return results, nil
}

// Sync returns when every Picture shows all transactions that were committed
// before the call. It waits for a connection if there is none, and starts
// again on the next one if one breaks. It fails when ctx ends, or with the
// server's refusal.
//
// Sync runs a transaction without operations. Ovsdb-server puts the updates
// that are due on a connection in front of every transaction's reply on it,
// and libovsdb applies messages in order. An echo is no barrier: the server
// answers it in a lower layer, which promises nothing about updates.
func (c *Client) Sync(ctx context.Context) error {
	for {
		s, err := c.session(ctx)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		_, err = s.transact(ctx)
		if err == nil {
			return nil
		}
		if refused := (*TransactError)(nil); ctx.Err() != nil || errors.As(err, &refused) {
			return fmt.Errorf("sync: %w", err)
		}
		// Without an answer the connection is over, or soon will be.
		select {
		case <-s.ctx.Done():
		case <-ctx.Done():
		}
	}
}
