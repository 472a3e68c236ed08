//! Letters of 5 × 7 dots, and who reads them: what a text in the pixels is, and whether it is still there.

/// Capitals that differ well from each other.
pub const LETTERS: [(char, [u8; 7]); 12] = [
    ('A', [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001]),
    ('D', [0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11110]),
    ('E', [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111]),
    ('I', [0b01110, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('J', [0b00111, 0b00010, 0b00010, 0b00010, 0b00010, 0b10010, 0b01100]),
    ('L', [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111]),
    ('N', [0b10001, 0b11001, 0b10101, 0b10101, 0b10011, 0b10001, 0b10001]),
    ('O', [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('R', [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001]),
    ('S', [0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110]),
    ('T', [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100]),
    ('X', [0b10001, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001, 0b10001]),
];

const WIDTH: usize = 5;
const HEIGHT: usize = 7;
/// From one letter to the next.
const ADVANCE: usize = 6;

/// A grey picture that is written on.
#[derive(Clone)]
pub struct Sheet {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// A text on a sheet: its top left corner, and how many pixels a dot has.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub text: &'a str,
    pub left: usize,
    pub top: usize,
    pub dot: usize,
}

fn dots(letter: char) -> [u8; 7] {
    LETTERS.iter().find(|(known, _)| *known == letter).expect("a letter that there is").1
}

fn is_ink(letter: char, x: usize, y: usize) -> bool {
    dots(letter)[y] >> (WIDTH - 1 - x) & 1 == 1
}

impl Line<'_> {
    /// Columns that a text of so many letters takes.
    pub fn width(letters: usize, dot: usize) -> usize {
        letters * ADVANCE * dot
    }

    pub fn height(dot: usize) -> usize {
        HEIGHT * dot
    }
}

impl Sheet {
    /// Dark and a little uneven, as what is behind burned in texts.
    pub fn new(width: usize, height: usize) -> Self {
        let uneven = |at: usize| 20 + (at.wrapping_mul(2_654_435_761) >> 7 & 15) as u8;
        Self { width, height, pixels: (0..width * height).map(uneven).collect() }
    }

    pub fn write(&mut self, line: Line<'_>) {
        for (place, letter) in line.text.chars().enumerate() {
            for (x, y) in
                (0..WIDTH * line.dot).flat_map(|x| (0..HEIGHT * line.dot).map(move |y| (x, y)))
            {
                if is_ink(letter, x / line.dot, y / line.dot) {
                    let column = line.left + place * ADVANCE * line.dot + x;
                    self.pixels[(line.top + y) * self.width + column] = 230;
                }
            }
        }
    }

    /// How many letters of a line are read as what they are, by somebody who knows where each of them
    /// stands, how large it is, and all letters that there are: it is taken for the one that it
    /// correlates best with.
    pub fn read(&self, line: Line<'_>) -> usize {
        let right = |(place, letter): (usize, char)| self.letter_at(line, place) == letter;
        line.text.chars().enumerate().filter(|&letter| right(letter)).count()
    }

    fn letter_at(&self, line: Line<'_>, place: usize) -> char {
        let left = line.left + place * ADVANCE * line.dot;
        // The mean of each dot's pixels, in a margin of one dot.
        let dot = |x: usize, y: usize| {
            let rows = (line.top + y * line.dot)..(line.top + (y + 1) * line.dot);
            let sum: u64 = rows
                .flat_map(|row| {
                    let from = row * self.width + left + x * line.dot;
                    &self.pixels[from..from + line.dot]
                })
                .map(|&pixel| u64::from(pixel))
                .sum();
            sum as f64 / (line.dot * line.dot) as f64
        };
        let seen: Vec<f64> = (0..HEIGHT)
            .flat_map(|y| (0..WIDTH).map(move |x| (x, y)))
            .map(|(x, y)| dot(x, y))
            .collect();
        let likeness = |letter: char| {
            let ink = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
            let ink: Vec<f64> =
                ink.map(|(x, y)| f64::from(u8::from(is_ink(letter, x, y)))).collect();
            correlation(&seen, &ink)
        };
        let best = LETTERS.iter().map(|(letter, _)| (likeness(*letter), *letter));
        best.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are letters").1
    }
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product: f64 = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    let square = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    product / (square(a, mean_a) * square(b, mean_b)).sqrt().max(1e-9)
}
