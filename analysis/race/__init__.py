"""Races: cells at equal rate are asked documents until the data can tell them apart."""
