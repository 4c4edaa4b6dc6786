"""Q, V and S measured (stage `measure`), and what follows for the paper's claims.

slot_gradients        gradients of single groups, as sketches
gradient_variance     V: the variance that a guide adds to them
findings, sentences   the answers, as data and in words
figure                all of it, drawn
"""
