// Package openflow talks OpenFlow 1.4 to the management socket of an Open
// vSwitch bridge (BR.mgmt): it reads flows back, changes them in one atomic
// bundle, lists ports and flushes connection tracking.
//
// A [Conn] is one connection. When it dies it stays dead ([Conn.Done]);
// its user dials again and reads back what is installed, because
// a reply that never came says nothing about what was done.
//
// Messages are encoded with libOpenflow, whose OpenFlow 1.3 forms are valid on
// a 1.4 session once the version byte says so; what differs in 1.4 (bundles,
// port descriptions, the asynchronous configuration) or is Open vSwitch's own
// is written here. Nothing that arrives is decoded with libOpenflow.
//
// A few facts about Open vSwitch that the code depends on:
//
//   - A bundle in which one message cannot be decoded commits all the others.
//     So a barrier is sent before the commit, and the bundle is discarded if
//     any error came before the barrier's reply.
//   - An OFPFC_ADD without OFPFF_RESET_COUNTS over an existing flow replaces
//     actions and cookie and keeps the counters; OFPFC_MODIFY_STRICT cannot
//     change the cookie.
//   - OFPFC_DELETE_STRICT honours cookie and mask: a foreign flow with the
//     same match stays.
//   - NO_FLOOD exists in OpenFlow 1.0 only. A 1.4 session neither shows nor
//     changes it and says nothing about it, so a second session is opened.
//     It declines packets that miss a table, which a session of 1.0 gets.
//   - A management connection gets no asynchronous messages unless it sets a
//     miss_send_len.
package openflow
