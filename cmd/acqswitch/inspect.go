package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/telemetry"
)

func inspectCommand(c *console) *cobra.Command {
	var unmask bool
	var dialectName, spec, file string
	cmd := &cobra.Command{
		Use:   "inspect [MESSAGE...]",
		Short: "Break one message down, field by field",
		Long: `inspect takes a message as hexadecimal (spaces and 0x allowed), base64 or raw
bytes, from the command line, a file or standard input, finds its dialect and
framing, and prints every field with its byte offset. Card data, PINs and keys
are masked. A message that cannot be read is printed as far as it could be, with
the field and byte offset that stopped it (in JSON: error), and exit code 2.`,
		Example: `  acqswitch inspect 0057600003000060310031000008000020000000C0001600000131303030303030313939393239303035343131303030310011000000010030002553657175656E6365204E6F313233313030534E3030303030310003303031
  acqswitch inspect --file message.bin --output json
  xxd -p message.bin | acqswitch inspect -
  acqswitch inspect --spec mydialect.json --file message.bin`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			input, err := readMessage(given, file, cmd.InOrStdin())
			if err != nil {
				return usage(err)
			}
			codecs, err := inspectCodecs(dialectName, spec)
			if err != nil {
				return usage(err)
			}
			m, err := iso.Inspect(input, codecs)
			if m == nil {
				return usage(err)
			}
			b := iso.Describe(m, unmask)
			if err != nil {
				b.Fault = err.Error()
				if !unmask { // what was taken for a bitmap may be a card number of another dialect
					b.Bitmap = telemetry.Mask(b.Bitmap)
				}
			}
			if printErr := printBreakdown(c, b); printErr != nil {
				return printErr
			}
			if err != nil {
				return usage(err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&unmask, "unmask", false, "show card data and keys in clear: for test data only")
	f.StringVarP(&dialectName, "dialect", "d", "auto", "dialect to read as: auto, cup-pos, iso87, iso87-hex32, iso87-binary, iso87-ascii4, iso87-bcd or cups")
	f.StringVar(&spec, "spec", "", "a dialect of your own: a JSON file in moov-io/iso8583's spec format")
	f.StringVarP(&file, "file", "f", "", "read the message from this file")
	return cmd
}

// messageSizeMax is more than the text of any message, in whatever form.
const messageSizeMax = 1 << 16

func readMessage(given []string, file string, in io.Reader) ([]byte, error) {
	switch {
	case file != "" && len(given) > 0:
		return nil, errors.New("give a message or --file, not both")
	case file != "":
		return readWhole(file, messageSizeMax)
	case len(given) == 0:
		return nil, errors.New("no message given; pass hexadecimal or base64, --file FILE, or - for standard input")
	case given[0] == "-":
		return io.ReadAll(io.LimitReader(in, messageSizeMax))
	}
	return []byte(strings.Join(given, " ")), nil
}

func inspectCodecs(name, spec string) ([]*iso.Codec, error) {
	if spec != "" {
		f, err := os.Open(spec)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		s, err := iso.LoadSpec(f)
		if err != nil {
			return nil, fmt.Errorf("spec %s: %w", spec, err)
		}
		s.Name = cmp.Or(s.Name, spec)
		var codecs []*iso.Codec
		for _, p := range []iso.Prefix{iso.PrefixNone, iso.PrefixBinary2, iso.PrefixASCII4, iso.PrefixBCD2, iso.PrefixBinary4} {
			codec, err := iso.Compile(s, iso.Framing{Prefix: p, MayTPDU: true, SizeMax: 9999})
			if err != nil {
				return nil, fmt.Errorf("spec %s: %w", spec, err)
			}
			codecs = append(codecs, codec)
		}
		return codecs, nil
	}
	all := iso.Known()
	if name == "auto" {
		return all, nil
	}
	var some []*iso.Codec
	const ascii4 = "iso87-ascii4" // iso87 in another frame, and frames are found
	seen := map[string]bool{ascii4: true}
	for _, codec := range all {
		seen[codec.Name()] = true
		if codec.Name() == name || name == ascii4 && codec.Name() == "iso87" {
			some = append(some, codec)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("--dialect %q is unknown; known are auto, %s", name, strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	}
	return some, nil
}

func printBreakdown(c *console, b iso.Breakdown) error {
	if c.json() {
		return c.print(b)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "dialect\t%s\n", b.Dialect)
	for _, h := range [][2]string{{"TPDU", b.TPDU}, {"LRI", b.LRI}, {"header", b.Header}, {"MTI", b.MTI}, {"bitmap", b.Bitmap}} {
		if h[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", h[0], h[1])
		}
	}
	fmt.Fprintf(w, "\nfield\toffset\tbytes\tname\tvalue\n")
	for _, f := range b.Fields {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\n", f.Number, f.Offset, f.Length, f.Name, f.Value)
		for _, p := range f.Parts {
			fmt.Fprintf(w, "%d.%s\t\t\t%s\t%s\n", f.Number, p.Tag, p.Name, p.Value)
		}
	}
	return w.Flush()
}
