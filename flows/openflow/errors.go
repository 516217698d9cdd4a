package openflow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ovs-sg/ovs-sg/flows"
)

// Errors that end a connection or a call; they come wrapped.
var (
	// ErrProtocol: the peer sent what is not OpenFlow.
	ErrProtocol = errors.New("protocol error")
	// ErrSilent: the peer does not answer.
	ErrSilent = errors.New("the switch is silent")
	// ErrUncertain: a commit was sent and its outcome is not known. The flows
	// are all as before or all as asked; only a Dump can tell which.
	ErrUncertain = errors.New("outcome of the commit is not known")
	// ErrUnsupported: this version of Open vSwitch cannot do it, or not safely.
	// It is an errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("%w for this version of Open vSwitch", errors.ErrUnsupported)
)

// VersionError says that the bridge does not speak a version of OpenFlow: its
// column protocols leaves that version out.
type VersionError struct {
	Version uint8 // wire version: 5 is OpenFlow 1.4, 1 is OpenFlow 1.0
	Reason  string
}

// Error names the setting to look at.
func (e *VersionError) Error() string {
	name := "OpenFlow14"
	if e.Version == version10 {
		name = "OpenFlow10"
	}
	return fmt.Sprintf("the bridge does not speak %s (see its column protocols): %s", name, e.Reason)
}

// SwitchError is an OFPT_ERROR message of the switch.
type SwitchError struct {
	Type         uint16 // ofp_error_type of OpenFlow 1.4; 0xffff: an experimenter's
	Code         uint16 // code within the type, or the experimenter's own number
	Experimenter uint32 // 0 unless Type is 0xffff
}

// Error returns Open vSwitch's name of the error, where it has one that matters
// here.
func (e *SwitchError) Error() string {
	key := [2]uint16{e.Type, e.Code}
	names := errorNames
	if e.Type == errorExperimenter && e.Experimenter == niciraVendor {
		names = niciraErrorNames
	}
	if n, ok := names[key]; ok {
		return n
	}
	return fmt.Sprintf("OpenFlow error type %d code %d", e.Type, e.Code)
}

// Command is what a change does with a flow.
type Command uint8

// The commands of a flows.Delta.
const (
	Delete Command = iota
	Add
	Modify
)

// String returns the command's name.
func (c Command) String() string {
	switch c {
	case Delete:
		return "delete"
	case Add:
		return "add"
	}
	return "modify"
}

// FlowError says which flow of a delta the switch refused. Nothing of the delta
// is in force.
type FlowError struct {
	Flow    flows.Flow
	Command Command
	SwitchError
}

// Error names the flow as ovs-ofctl prints it.
func (e *FlowError) Error() string {
	return fmt.Sprintf("%s flow %s: %s", e.Command, e.Flow, e.SwitchError.Error())
}

// Unwrap returns the switch's error.
func (e *FlowError) Unwrap() error { return &e.SwitchError }

const (
	errorExperimenter = 0xffff
	niciraVendor      = 0x00002320
)

// decodeError reads the body of an OFPT_ERROR.
func decodeError(body []byte) (*SwitchError, error) {
	if len(body) < 4 {
		return nil, fmt.Errorf("%w: an error message of %d bytes", ErrProtocol, len(body))
	}
	e := &SwitchError{Type: binary.BigEndian.Uint16(body), Code: binary.BigEndian.Uint16(body[2:])}
	if e.Type == errorExperimenter {
		if len(body) < 8 {
			return nil, fmt.Errorf("%w: an experimenter error of %d bytes", ErrProtocol, len(body))
		}
		e.Experimenter = binary.BigEndian.Uint32(body[4:])
	}
	return e, nil
}

// switchError returns the error that a session's error message stands for.
func (s *session) switchError(body []byte) error {
	e, err := decodeError(body)
	if err != nil {
		return err
	}
	// Version 1.0 numbers the types without instructions, matches and groups.
	if types := []uint16{3: 5, 4: 7, 5: 9}; s.version == version10 && int(e.Type) < len(types) && e.Type >= 3 {
		e.Type = types[e.Type]
	}
	return e
}

// errorTooLong is the error that the switch would return for a message that does
// not fit.
var errorTooLong = SwitchError{Type: 1, Code: 6}

// errorNames has the names of include/openvswitch/ofp-errors.h for the errors
// that can come in reply to what this package sends, by type and code of OpenFlow
// 1.4.
var errorNames = map[[2]uint16]string{
	{0, 0}: "OFPHFC_INCOMPATIBLE", {0, 1}: "OFPHFC_EPERM",
	{1, 0}: "OFPBRC_BAD_VERSION", {1, 1}: "OFPBRC_BAD_TYPE", {1, 2}: "OFPBRC_BAD_STAT",
	{1, 3}: "OFPBRC_BAD_VENDOR", {1, 4}: "OFPBRC_BAD_SUBTYPE", {1, 5}: "OFPBRC_EPERM",
	{1, 6}: "OFPBRC_BAD_LEN", {1, 8}: "OFPBRC_BUFFER_UNKNOWN", {1, 9}: "OFPBRC_BAD_TABLE_ID",
	{1, 10}: "OFPBRC_IS_SECONDARY", {1, 11}: "OFPBRC_BAD_PORT",
	{2, 0}: "OFPBAC_BAD_TYPE", {2, 1}: "OFPBAC_BAD_LEN", {2, 2}: "OFPBAC_BAD_VENDOR",
	{2, 3}: "OFPBAC_BAD_VENDOR_TYPE", {2, 4}: "OFPBAC_BAD_OUT_PORT", {2, 5}: "OFPBAC_BAD_ARGUMENT",
	{2, 6}: "OFPBAC_EPERM", {2, 7}: "OFPBAC_TOO_MANY", {2, 9}: "OFPBAC_BAD_OUT_GROUP",
	{2, 10}: "OFPBAC_MATCH_INCONSISTENT",
	{2, 11}: "OFPBAC_UNSUPPORTED_ORDER", {2, 12}: "OFPBAC_BAD_TAG", {2, 13}: "OFPBAC_BAD_SET_TYPE",
	{2, 14}: "OFPBAC_BAD_SET_LEN", {2, 15}: "OFPBAC_BAD_SET_ARGUMENT",
	{3, 0}: "OFPBIC_UNKNOWN_INST", {3, 1}: "OFPBIC_UNSUP_INST", {3, 2}: "OFPBIC_BAD_TABLE_ID",
	{3, 7}: "OFPBIC_BAD_LEN", {3, 9}: "OFPBIC_DUP_INST",
	{4, 0}: "OFPBMC_BAD_TYPE", {4, 1}: "OFPBMC_BAD_LEN", {4, 5}: "OFPBMC_BAD_WILDCARDS",
	{4, 6}: "OFPBMC_BAD_FIELD", {4, 7}: "OFPBMC_BAD_VALUE", {4, 8}: "OFPBMC_BAD_MASK",
	{4, 9}: "OFPBMC_BAD_PREREQ", {4, 10}: "OFPBMC_DUP_FIELD", {4, 11}: "OFPBMC_EPERM",
	{5, 0}: "OFPFMFC_UNKNOWN", {5, 1}: "OFPFMFC_TABLE_FULL", {5, 2}: "OFPFMFC_BAD_TABLE_ID",
	{5, 3}: "OFPFMFC_OVERLAP", {5, 4}: "OFPFMFC_EPERM", {5, 6}: "OFPFMFC_BAD_COMMAND",
	{7, 0}: "OFPPMFC_BAD_PORT", {7, 1}: "OFPPMFC_BAD_HW_ADDR", {7, 2}: "OFPPMFC_BAD_CONFIG",
	{17, 0}: "OFPBFC_UNKNOWN", {17, 1}: "OFPBFC_EPERM", {17, 2}: "OFPBFC_BAD_ID",
	{17, 3}: "OFPBFC_BUNDLE_EXIST", {17, 4}: "OFPBFC_BUNDLE_CLOSED", {17, 5}: "OFPBFC_OUT_OF_BUNDLES",
	{17, 6}: "OFPBFC_BAD_TYPE", {17, 7}: "OFPBFC_BAD_FLAGS", {17, 8}: "OFPBFC_MSG_BAD_LEN",
	{17, 9}: "OFPBFC_MSG_BAD_XID", {17, 10}: "OFPBFC_MSG_UNSUP", {17, 13}: "OFPBFC_MSG_FAILED",
	{17, 14}: "OFPBFC_TIMEOUT",
}

// niciraErrorNames are Open vSwitch's own.
var niciraErrorNames = map[[2]uint16]string{
	{0xffff, 2}: "NXBRC_NXM_INVALID", {0xffff, 3}: "NXBRC_NXM_BAD_TYPE", {0xffff, 4}: "NXBRC_MUST_BE_ZERO",
	{0xffff, 10}: "NXBRC_UNENCODABLE_ERROR", {0xffff, 11}: "NXBAC_MUST_BE_ZERO",
	{0xffff, 15}: "NXBAC_BAD_CONJUNCTION", {0xffff, 42}: "NXBAC_CT_DATAPATH_SUPPORT",
	{0xffff, 43}: "NXBMC_CT_DATAPATH_SUPPORT",
}
