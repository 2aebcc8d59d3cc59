#![no_main]

outlast_fuzz::target!();
