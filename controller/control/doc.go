// Package control is the door between a running agent and the tools that talk
// to it: the types of the API, the server in the agent and the client in the
// tools.
//
// The API is HTTP with JSON bodies on a Unix socket:
//
//	GET /status   200 and a Status. With ?files=refused, the status of many
//	              files leaves out the accepted ones. 503 and the reason if
//	              the agent cannot say.
//	POST /wait    204 as soon as everything that happened before the request is
//	              in force; 503 and the reason if that cannot be said. The
//	              request's end ends the wait.
//	POST /release 204 when the held change of policy is let go on; 409 if no
//	              change is held.
package control
