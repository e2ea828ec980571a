package demo

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
)

// picture draws a small image of a hill under a sun: the photographs of the
// sample letters.
func picture(sky, hill color.RGBA) []byte {
	const width, height = 160, 100
	sun := color.RGBA{0xf5, 0xb0, 0x41, 0xff}
	img := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{sky, hill, sun})
	for y := range height {
		for x := range width {
			dx, dy := x-120, y-28
			switch {
			case y > height-20-(width-abs(2*x-width))/4:
				img.SetColorIndex(x, y, 1)
			case dx*dx+dy*dy < 15*15:
				img.SetColorIndex(x, y, 2)
			}
		}
	}
	var b bytes.Buffer
	// Without compression the octets do not depend on the compressor of the day.
	must(0, (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&b, img))
	return b.Bytes()
}

func abs(n int) int { return max(n, -n) }
