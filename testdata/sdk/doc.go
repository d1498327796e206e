// Package sdk compares what balena-migrate asks balena's API for with what balena's own SDK asks it for, both against the
// server of package balenaapi. It needs node and npm; package-lock.json pins the SDK and all that it is made of.
package sdk
