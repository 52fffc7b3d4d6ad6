"""Marginals, copulas, trees and forests."""
