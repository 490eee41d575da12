// Package ext is the place where another edition adds fields to Traefik's configuration; this one adds none.
package ext

// HTTP adds nothing to the HTTP configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
