package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// failure builds an Error of account reach, the commonest kind in a session.
func failure(class Class, reason string, err error) *Error {
	return &Error{Class: class, Reach: ReachAccount, Reason: reason, Err: err}
}

// temporary is failure for what may pass by itself.
func temporary(class Class, reason string, err error) *Error {
	e := failure(class, reason, err)
	e.Temporary = true
	return e
}

// nameError classifies what a resolver said.
func nameError(err error) *Error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return failure(ClassName, "dns-not-found", err)
	}
	return temporary(ClassName, "dns-failed", err)
}

// dialError classifies a failed TCP connect.
func dialError(err error) *Error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return nameError(err)
	case isTimeout(err):
		return temporary(ClassNetwork, "timeout", err)
	case isErrno(err, errnoRefused):
		return temporary(ClassNetwork, "refused", err)
	case isErrno(err, errnoReset):
		return temporary(ClassNetwork, "reset", err)
	}
	// What is left is routing: no network, no route, a forbidding firewall.
	return temporary(ClassNetwork, "unreachable", err)
}

// tlsError classifies a failed TLS handshake. A certificate error is never
// temporary: somebody has to look at it.
func tlsError(err error) *Error {
	var (
		record  tls.RecordHeaderError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		roots   x509.SystemRootsError
	)
	switch {
	case errors.As(err, &record):
		e := failure(ClassTLS, "not-tls", err)
		e.Server = string(record.RecordHeader[:])
		return e
	case errors.As(err, &host):
		return failure(ClassTLS, "cert-wrong-host", err)
	case errors.As(err, &invalid):
		if invalid.Reason != x509.Expired {
			return failure(ClassTLS, "cert-invalid", err)
		}
		// x509 calls both ends of the validity period "expired".
		if invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore) {
			return failure(ClassTLS, "cert-not-yet-valid", err)
		}
		return failure(ClassTLS, "cert-expired", err)
	case errors.As(err, &unknown), errors.As(err, &roots):
		return failure(ClassTLS, "cert-unknown-authority", err)
	case isTimeout(err):
		return temporary(ClassNetwork, "timeout", err)
	case isErrno(err, errnoReset):
		return temporary(ClassNetwork, "reset", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return temporary(ClassNetwork, "closed", err)
	}
	return failure(ClassTLS, "tls-handshake", err)
}

// netError classifies a failed read or write on a standing connection. It
// returns an Error that is already classified as it is.
func netError(err error) *Error {
	var (
		done   *Error
		record tls.RecordHeaderError
		alert  tls.AlertError
	)
	switch {
	case errors.As(err, &done):
		return done
	case isTimeout(err):
		return temporary(ClassNetwork, "silent", err)
	case isErrno(err, errnoReset):
		return temporary(ClassNetwork, "reset", err)
	case errors.As(err, &record), errors.As(err, &alert):
		return failure(ClassTLS, "tls-broken", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return temporary(ClassNetwork, "closed", err)
	}
	return temporary(ClassNetwork, "broken", err)
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isErrno(err error, set []error) bool {
	for _, e := range set {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
