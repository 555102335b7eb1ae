package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
)

// offerCommands gives the commands of who types what they need.
func (opt *clientOptions) offerCommands(c *talk.Conversation, at address) {
	if via, err := opt.out.proxyTo(at); err == nil && via != nil {
		c.Commands.Via = withoutUser(via.String())
	}
	c.Commands.Reframe = func(name string) error { return opt.reframe(c, at, name) }
	said := &console.Said{Wording: console.Wording{Words: c.Framing.Words, Secrets: opt.showSecrets}}
	c.Commands.Save = func(file string) error { return saveAs(file, said, c.Framing) }
	c.View = &keptView{View: c.View, said: said}
}

// reframe has a conversation go on in the framing of that name.
func (opt *clientOptions) reframe(c *talk.Conversation, at address, name string) error {
	f, err := dialect.Parse(name)
	if err = cmp.Or(err, opt.own.refuseReframing()); err != nil {
		return err
	}
	// What said where a reply or a greeting ends was for the framing before.
	opt.framing.Framing, opt.reply, opt.greeting = f, replyFlags{lines: 1}, bannerFlags{}
	framing := addressed(f, at)
	opt.frame(c, framing, false)
	c.View.ShowIn(framing)
	return nil
}

// A keptView also keeps what it shows.
type keptView struct {
	talk.View
	said          *console.Said
	remote, local string
}

func (v *keptView) Over(remote, local string) {
	v.remote, v.local = remote, local
	v.View.Over(remote, local)
}

func (v *keptView) Connected(server string) {
	v.said.Opened(server, v.remote, v.local)
	v.View.Connected(server)
}

func (v *keptView) Sending(request dialect.Message) {
	v.said.Sent(request)
	v.View.Sending(request)
}

func (v *keptView) Response(reply dialect.Message, took time.Duration) {
	v.said.Replied(reply, took)
	v.View.Response(reply, took)
}

func (v *keptView) Message(m dialect.Message) {
	v.said.Message(m)
	v.View.Message(m)
}

func (v *keptView) Closed(reason, why string) {
	v.said.Closed(reason, why)
	v.View.Closed(reason, why)
}

func (v *keptView) ShowIn(f dialect.Framing) {
	v.said.Words = f.Words
	v.View.ShowIn(f)
}

// saveAs writes what was said into a file that is not there yet, in the form that its name asks for.
func saveAs(file string, said *console.Said, framing dialect.Framing) (err error) {
	var text []byte
	switch filepath.Ext(file) {
	case ".md":
		text = said.AppendMarkdown(nil)
	case ".json":
		text = said.AppendJSON(nil)
	default:
		if text, err = said.AppendDialogue(nil, framing); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not written over; choose another name", file)
	}
	if err == nil {
		_, err = f.Write(text)
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(file) // it is ours
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", file, inWords(err, aFileToWrite))
	}
	return nil
}
