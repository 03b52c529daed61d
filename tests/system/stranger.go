// stranger SOCKET MASK: a milter client that is not ours, Debian's golang-github-emersion-go-milter-dev, offers the protocol
// options MASK and hands in a letter, in a session of its own.  It has no DATA: the letter is decided at its end.
// It says what it is answered at each step.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/emersion/go-milter"
)

func must(step string, action *milter.Action, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, step, err)
		os.Exit(1)
	}
	if action.Code == milter.ActReplyCode {
		fmt.Println(step, action.SMTPCode, action.SMTPText)
	} else {
		fmt.Println(step, string(rune(action.Code)))
	}
}

func main() {
	mask, err := strconv.ParseUint(os.Args[2], 0, 32)
	if err != nil {
		panic(err)
	}
	client := milter.NewClientWithOptions("unix", os.Args[1], milter.ClientOptions{
		ReadTimeout: 10e9, WriteTimeout: 10e9, ActionMask: milter.OptAddHeader, ProtocolMask: milter.OptProtocol(mask)})
	session, err := client.Session()
	if err != nil {
		fmt.Fprintln(os.Stderr, "session", err)
		os.Exit(1)
	}
	action, err := session.Conn("client7.example.com", milter.FamilyInet, 4711, "203.0.113.7")
	must("connect", action, err)
	action, err = session.Helo("stranger.example")
	must("helo", action, err)
	if err = session.Macros(milter.CodeMail, "i", "G1"); err != nil {
		panic(err)
	}
	action, err = session.Mail("a@sender.example", []string{"SIZE=1"})
	must("mail", action, err)
	action, err = session.Rcpt("someone@trap.example", nil)
	must("rcpt", action, err)
	action, err = session.HeaderField("Subject", "hello")
	must("header", action, err)
	action, err = session.HeaderEnd()
	must("eoh", action, err)
	_, action, err = session.BodyReadFrom(strings.NewReader("first line\r\n"))
	must("end", action, err)
	if err = session.Close(); err != nil {
		panic(err)
	}
}
