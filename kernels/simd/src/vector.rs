//! Four numbers at once.

pub use platform::Vector;

#[cfg(target_arch = "wasm32")]
mod platform {
    use std::arch::wasm32::*;

    #[derive(Clone, Copy)]
    pub struct Vector(v128);

    impl Vector {
        pub fn new([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }
        pub fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }
        pub fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }
        pub fn mul(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
        pub fn div(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }
        pub fn max(self, other: Self) -> Self {
            Self(f32x4_pmax(self.0, other.0))
        }
        pub fn min(self, other: Self) -> Self {
            Self(f32x4_pmin(self.0, other.0))
        }
        pub fn floor(self) -> Self {
            Self(f32x4_floor(self.0))
        }
        /// `2^self` of whole numbers from -126 to 127.
        pub fn power_of_two(self) -> Self {
            let n = i32x4_add(i32x4_trunc_sat_f32x4(self.0), i32x4_splat(127));
            Self(i32x4_shl(n, 23))
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(v128_and(self.0, f32x4_ge(x.0, limit.0)))
        }
        /// Columns of four rows as rows.
        pub fn transposed([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let low = i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0); // a0 b0 a1 b1
            let high = i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0);
            let low2 = i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0);
            let high2 = i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0);
            [
                Self(i32x4_shuffle::<0, 1, 4, 5>(low, low2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(low, low2)),
                Self(i32x4_shuffle::<0, 1, 4, 5>(high, high2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(high, high2)),
            ]
        }
        pub fn array(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    #[derive(Clone, Copy)]
    pub struct Vector([f32; 4]);

    impl Vector {
        pub fn new(values: [f32; 4]) -> Self {
            Self(values)
        }
        pub fn splat(value: f32) -> Self {
            Self([value; 4])
        }
        fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
            Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
        }
        pub fn add(self, other: Self) -> Self {
            self.zip(other, |a, b| a + b)
        }
        pub fn mul(self, other: Self) -> Self {
            self.zip(other, |a, b| a * b)
        }
        pub fn div(self, other: Self) -> Self {
            self.zip(other, |a, b| a / b)
        }
        pub fn max(self, other: Self) -> Self {
            self.zip(other, f32::max)
        }
        pub fn min(self, other: Self) -> Self {
            self.zip(other, f32::min)
        }
        /// Without SSE 4.1 there is no instruction for it: between 2^23 and 2^24 numbers are whole.
        pub fn floor(self) -> Self {
            const WHOLE: f32 = 12_582_912.0; // 1.5 * 2^23
            Self(self.0.map(|x| {
                let rounded = (x + WHOLE) - WHOLE;
                if rounded > x { rounded - 1.0 } else { rounded }
            }))
        }
        /// `2^self` of whole numbers from -126 to 127.
        pub fn power_of_two(self) -> Self {
            // The last bits of a number between 2^23 and 2^24 are its own as a whole number.
            const EXPONENT: f32 = 8_388_608.0 + 127.0;
            Self(
                self.0
                    .map(|n| f32::from_bits((n + EXPONENT).to_bits() << 23)),
            )
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(std::array::from_fn(|i| {
                if x.0[i] >= limit.0[i] { self.0[i] } else { 0.0 }
            }))
        }
        /// Columns of four rows as rows.
        pub fn transposed(rows: [Self; 4]) -> [Self; 4] {
            std::array::from_fn(|i| Self(std::array::from_fn(|j| rows[j].0[i])))
        }
        pub fn array(self) -> [f32; 4] {
            self.0
        }
    }
}
